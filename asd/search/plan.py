"""What a search is to do, and whether it can."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asd.config import Config
from asd.errors import UserError
from asd.jobs.data import check_dataset, find_clips
from asd.search import objective as objectives
from asd.search.objective import Kind, MachineMetrics, Machines, Metric, Objective
from asd.search.space import SCORE, Space, Values, check_space, set_texts
from asd.search.stand_ins import check_stand_ins
from asd.search.trainings import check_labels


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Parameters
    ----------
    make_config
        List of `--set` texts -> the run with these values.
    space
        What is varied.
    kind
        Which objective; see `asd search --help`.
    metric
        Mean over machine types: "official", or "own_domain".
    trials
        Number of trials of a study.
    folds
        Parts of the machine types that are left out in turn, for the nested estimate; 0 for none.
    folder
        Where all files of the search lie.
    url
        Storage of the studies.
    at_once
        Trials at the same time; 0 for a number that suits the system and this machine.
    """

    make_config: Callable[[list[str]], Config]
    space: Space
    kind: Kind
    metric: Metric
    trials: int
    folds: int
    folder: Path
    url: str
    at_once: int = 0

    @property
    def base(self) -> Config:
        """The run with nothing varied."""
        return self.config({})

    def config(self, values: Values) -> Config:
        """The run with values.

        Raises
        ------
        UserError
            A key is unknown, or a value cannot be.
        """
        made = self.make_config(set_texts(values))
        return replace(made, score=values.get(SCORE, made.score))

    @property
    def by_stand_ins(self) -> bool:
        """Whether trials are judged without labels."""
        return self.kind == "pseudo_auc"

    @property
    def is_joint(self) -> bool:
        """Whether one model learns all machine types."""
        return self.base.entry.system_class().scope == "challenge"

    def objective(self, scored: Machines) -> Objective:
        """What is maximised where these machine types may be looked at."""
        machines = self.base.machines
        if self.kind == "published":
            groups = objectives.published_splits(scored, self.base.seed)
        else:
            groups = (objectives.Group(scored, machines),)
        return Objective(groups, self._mean(), self.is_joint)

    def _mean(self) -> Callable[[MachineMetrics], float]:
        if self.by_stand_ins:
            return objectives.pseudo_auc
        if self.metric == "own_domain":
            return objectives.own_domain
        return objectives.official(self.base.challenge.official_score)

    def score_of(self, config: Config, scores: Mapping[str, Any]) -> str:
        """The score that a trial is judged by: the one named, or the system's first."""
        name = config.score_name
        if name.lower() == "all":
            return next(iter(scores))
        if name not in scores:
            raise UserError(f"--score: there is no {name}; choose from {', '.join(scores)}")
        return name


def check(search: Search) -> None:
    """Refuse what cannot be, before anything is done.

    Raises
    ------
    UserError
        Of the space, the system, its score or its weights, or the folds.
    """
    check_space(search.space, search.config)
    base = search.base
    if base.use_ids:
        raise UserError("--use_ids: a search judges whole machine types; leave it out")
    for values in search.space.examples():
        config = search.config(values)
        system = config.entry.system_class()(config.system)
        system.check()
        search.score_of(config, dict.fromkeys(system.score_names))
    if search.folds:
        objectives.left_out(base.machines, search.folds, base.seed)
    check_dataset(base)
    for machine in base.machines:
        train = find_clips(base, machine, "train")
        if search.by_stand_ins:
            check_stand_ins(train, base.seed, others=len(base.machines) > 1)
        else:
            check_labels(find_clips(base, machine, "test"), base.dataset)
