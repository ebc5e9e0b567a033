"""The search: trials asked for, trained, judged and told, a few at a time."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from asd.config import Config
from asd.errors import UserError
from asd.jobs.data import check_dataset, find_clips
from asd.jobs.jobs import Job
from asd.jobs.parallel import run_jobs
from asd.schema.parameters import plain
from asd.search import objective as objectives
from asd.search.objective import Kind, MachineMetrics, Machines, Metric, Objective
from asd.search.space import SCORE, Space, Values, check_space, set_texts
from asd.search.stand_ins import check_stand_ins
from asd.search.study import REASON, Study, living_worker, value_of
from asd.search.trainings import (
    check_labels,
    code_of,
    do_training,
    read_metrics,
    training_job,
)
from asd.threads import thread_count

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)


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


@dataclass
class _Running:
    """A trial that is being done."""

    trial: "Trial"
    config: Config
    done: dict[Machines, MachineMetrics] = field(default_factory=dict)


def run_study(search: Search, study: Study, objective: Objective, title: str) -> None:
    """Do the trials of a study that are left.

    Raises
    ------
    UserError
        The first trials fail, all of them.
    """
    at_once = search.at_once or (1 if search.is_joint else thread_count(search.base.threads))
    total = search.trials
    with tqdm(total=total, desc=title, unit="trial") as bar:
        tried = failed = 0
        while True:
            _show(bar, study)
            trials = study.next_trials(at_once, total)
            if not trials:
                if not study.others_run:
                    return
                time.sleep(_LOOK_S)  # another search does the last trials; it may be killed
                continue
            reasons = _do_trials(search, study, objective, trials, at_once)
            tried, failed = tried + len(trials), failed + len(reasons)
            if reasons and failed == tried and (tried >= _HOPELESS or tried == total):
                raise UserError(f"the first {tried} trials failed, the last one: {reasons[-1]}")


_HOPELESS = 3
"""A search whose first so many trials all fail ends."""

_LOOK_S = 1.0


def _show(bar: Any, study: Study) -> None:
    best = study.best()
    bar.set_postfix_str("" if best is None else f"best {best.value:.4f}", refresh=False)
    bar.update(sum(trial.state.is_finished() for trial in study.trials) - bar.n)
    bar.refresh()


def _do_trials(
    search: Search, study: Study, objective: Objective, trials: "list[Trial]", at_once: int
) -> list[str]:
    """Do trials side by side, training by training; returns why some failed."""
    running = {t.number: _Running(t, search.config(search.space.suggest(t))) for t in trials}
    reasons: list[str] = []
    for step, machines in enumerate(objective.trainings):
        jobs = {
            number: training_job(each.config, machines, search.by_stand_ins)
            for number, each in running.items()
        }
        failures = _train(search, list(jobs.values()), at_once)
        is_last = step + 1 == len(objective.trainings)
        for number, job in jobs.items():
            each = running[number]
            try:
                if job.tag in failures:
                    raise UserError(failures[job.tag])
                each.done[machines] = metrics_of(search, each.config, job)
            except UserError as error:
                reasons.append(str(error))
                log.warning("trial %d: %s", number, error)
                study.tell_failed(each.trial, str(error))
                del running[number]
                continue
            if study.report(each.trial, step, objective.value(each.done)) and not is_last:
                study.tell_pruned(each.trial)
                del running[number]
    for each in running.values():
        study.tell(each.trial, objective.value(each.done))
    return reasons


def _train(search: Search, jobs: list[Job], at_once: int) -> dict[str, str]:
    """Do trainings whose metrics are not there; tag -> reason of those that failed."""
    folder = trainings_folder(search)
    waiting = {job.tag: job for job in jobs if read_metrics(folder, job) is None}
    if not waiting:
        return {}
    base = search.base
    work = partial(
        do_training, folder=folder, by_stand_ins=search.by_stand_ins, all_machines=base.machines
    )
    failures = run_jobs(
        work, list(waiting.values()), min(at_once, len(waiting)), base.cluster,
        base.cluster_timeout,
    )  # fmt: skip
    return {failure.job.tag: failure.reason for failure in failures}


def metrics_of(search: Search, config: Config, job: Job) -> MachineMetrics:
    """The metrics of a training that is done, of the score that the config names."""
    found = read_metrics(trainings_folder(search), job)
    if found is None:
        raise UserError(f"{trainings_folder(search) / job.tag}.json: is damaged; remove it")
    return found[search.score_of(config, found)]


def trainings_folder(search: Search) -> Path:
    """Where metrics of trainings lie."""
    return search.folder.absolute() / "trainings"


def metrics_at(
    search: Search, study: Study, trial: "FrozenTrial", machines: Machines
) -> MachineMetrics:
    """The metrics of a trial at machine types that its study may not have looked at.

    Raises
    ------
    UserError
        It cannot be trained with them.
    """
    scored = (objectives.Group(machines, search.base.machines),)
    objective = replace(search.objective(machines), groups=scored)
    config = search.config(study.values_of(trial))
    done: dict[Machines, MachineMetrics] = {}
    for training in objective.trainings:
        job = training_job(config, training, search.by_stand_ins)
        if failures := _train(search, [job], 1):
            raise UserError(failures[job.tag])
        done[training] = metrics_of(search, config, job)
    return objective.metrics(scored[0], done)


@dataclass(frozen=True)
class Outcome:
    """What came of a search.

    Parameters
    ----------
    study
        The study over all machine types, whose best trial is the choice.
    best, value
        That trial, and its value.
    estimate
        Mean over the machine types, each scored by the choice of a study that never saw it; None
        without folds.
    estimated
        Machine type -> its metrics in that estimate.
    """

    search: Search
    study: Study
    best: "FrozenTrial"
    value: float
    estimate: float | None = None
    estimated: MachineMetrics = field(default_factory=dict)

    @property
    def measure(self) -> str:
        """What the value is."""
        return "Pseudo AUC" if self.search.by_stand_ins else _METRICS[self.search.metric]

    def lines(self) -> list[str]:
        """What came of it, in words."""
        counts = Counter(trial.state.name.lower() for trial in self.study.trials)
        told = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
        lines = [
            f"{len(self.study.trials)} trials ({told})",
            f"best: trial {self.best.number}, {self.measure} {100 * self.value:.2f} %, "
            + ("of stand-ins, not of anomalies" if self.search.by_stand_ins else
               "measured on the clips it was chosen by, and so too high"),
        ]  # fmt: skip
        if self.search.by_stand_ins and self.value > _SATURATED:
            lines.append(
                "nearly every stand-in is found, so that this value chooses little: vary what is "
                "harder, or take machine types that sound more alike"
            )
        if self.estimate is not None:
            lines.append(
                f"nested estimate: {100 * self.estimate:.2f} %, each machine type scored by a "
                "choice that never saw it; the difference is "
                f"{100 * (self.value - self.estimate):+.2f}"
            )
            mean = self.search.objective(self.search.base.machines).mean
            each = {machine: mean({machine: own}) for machine, own in self.estimated.items()}
            lines.append(", ".join(f"{name} {100 * value:.1f}" for name, value in each.items()))
        elif not self.search.by_stand_ins:
            lines.append(
                "no nested estimate (--folds 0): do not report the value above as a result"
            )
        return lines


_SATURATED = 0.995

_METRICS = {"official": "official score", "own_domain": "own-domain mean"}


def run_search(search: Search) -> Outcome:
    """Search, or go on with a search; then find the nested estimate.

    Raises
    ------
    UserError
        Something cannot be, the first trials all fail, or no trial has a value.
    """
    check(search)
    machines = search.base.machines
    with living_worker(search.folder / "workers") as worker:
        study = _studied(search, machines, "all", worker)
        best = _best(study)
        folds = 0 if search.by_stand_ins else search.folds
        if not folds:
            return Outcome(search, study, best, value_of(best))
        found: dict[str, Mapping[str, float]] = {}
        for number, out in enumerate(objectives.left_out(machines, folds, search.base.seed), 1):
            seen = objectives.without(machines, out)
            inner = _studied(search, seen, f"fold {number} of {folds}", worker)
            found.update(metrics_at(search, inner, _best(inner), out))
    estimated = {machine: found[machine] for machine in machines}
    estimate = search.objective(machines).mean(estimated)
    return Outcome(search, study, best, value_of(best), estimate, estimated)


def _studied(search: Search, scored: Machines, name: str, worker: str) -> Study:
    """A study of its own, with all its trials done."""
    study = Study(
        search.url, f"{search.folder.name} {name}", search.space, search.base.seed,
        _facts(search, scored), search.folder / "workers", worker,
    )  # fmt: skip
    run_study(search, study, search.objective(scored), f"search, {name}")
    return study


def _facts(search: Search, scored: Machines) -> dict[str, Any]:
    """What a study must share with the search that goes on with it."""
    base = search.base
    return {
        "model": base.entry.label,
        "parameters": plain(base.system),
        "space": search.space.to_plain(),
        "code": code_of(base.entry),
        "dataset": base.dataset,
        "split": base.split,
        "dataset_directory": str(base.dataset_directory.absolute()),
        "mono": base.mono,
        "machine types": list(base.machines),
        "scored": list(scored),
        "objective": search.kind,
        "metric": search.metric,
        "score": base.score_name,
        "seed": base.seed,
        "max_fpr": base.max_fpr,
    }


def _best(study: Study) -> "FrozenTrial":
    best = study.best()
    if best is None:
        reasons = [trial.user_attrs.get(REASON, "") for trial in study.trials]
        raise UserError(f"no trial has a value; the last one: {reasons[-1] if reasons else 'none'}")
    return best
