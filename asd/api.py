"""The objects behind `import asd`: data sets, detectors, evaluations."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asd.audio.clip_set import ClipSet
from asd.audio.recordings import MACHINE
from asd.challenge.catalog import Challenge
from asd.challenge.catalog import load_challenge as load_year
from asd.clips import LABELS
from asd.config import load_config
from asd.detector import Detector
from asd.errors import UserError
from asd.evaluation.metrics import (
    arithmetic_mean,
    official_mean,
    official_score,
    own_domain_mean,
)
from asd.evaluation.results import ResultTable, result_table, section_scores
from asd.extensions import absolute_reference
from asd.jobs.data import machine_clips
from asd.schema.parameters import parameters_of, with_values
from asd.scores.table import ScoreTable
from asd.systems.registry import find_system
from asd.threads import available_cores
from asd.words import nearest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MachineData:
    """The clips of a machine type in a challenge data set.

    Parameters
    ----------
    machine
        Machine type.

    Examples
    --------
    >>> import asd
    >>> fan = asd.load_challenge("DCASE2023T2", getfixture("tiny_data")).dev["fan"]
    >>> fan.train, fan.test
    (<12 clips of fan>, <12 clips of fan>)
    """

    machine: str
    _config: Any

    @property
    def train(self) -> ClipSet:
        """The training clips."""
        return machine_clips(self._config, self.machine, "train", available_cores())

    @property
    def test(self) -> ClipSet:
        """The test clips."""
        return machine_clips(self._config, self.machine, "test", available_cores())


class SplitData(Mapping[str, MachineData]):
    """The development or evaluation data of a challenge year, by machine type."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def __contains__(self, machine: object) -> bool:
        return machine in set(self)

    def __getitem__(self, machine: str) -> MachineData:
        challenge: Challenge = self._config.challenge
        (checked,) = challenge.check_machines(self._config.split, [machine])
        return MachineData(checked, self._config)

    def __iter__(self) -> Iterator[str]:
        return iter(self._config.challenge.split(self._config.split).sections)

    def __len__(self) -> int:
        return len(self._config.challenge.split(self._config.split).sections)


@dataclass(frozen=True)
class ChallengeData:
    """The data sets of a challenge year.

    Parameters
    ----------
    name
        "DCASE2023T2".
    dev, eval
        By machine type.

    Examples
    --------
    >>> import asd
    >>> data = asd.load_challenge("DCASE2023T2", getfixture("tiny_data"))
    >>> list(data.dev)[:3]
    ['ToyCar', 'ToyTrain', 'fan']
    """

    name: str
    dev: SplitData
    eval: SplitData


def load_challenge(
    name: str, data: str | Path = "data", *, features: str | Path | None = None
) -> ChallengeData:
    """The data sets of a challenge year in a data folder, as `asd download` leaves them there.

    Parameters
    ----------
    name
        Challenge year, "DCASE2020T2" to "DCASE2026T2".
    data
        The data folder.
    features
        Folder for computed features; None keeps them beside the data.

    Raises
    ------
    UserError
        There is no such year. Missing clips are told when they are asked for.

    Examples
    --------
    >>> import asd
    >>> fan = asd.load_challenge("DCASE2023T2", getfixture("tiny_data")).dev["fan"]
    >>> fan.train
    <12 clips of fan>
    """
    load_year(name)
    flags = {"dataset": name, "dataset_directory": Path(data)}
    if features is not None:
        flags["feature_directory"] = Path(features)
    configs = {split: load_config(None, flags, split, use_default_file=False) for split in _SPLITS}
    return ChallengeData(name, SplitData(configs["dev"]), SplitData(configs["eval"]))


_SPLITS = ("dev", "eval")


def create(model: str = "ae", *, device: str = "cpu", **parameters: Any) -> Detector:
    """An unfitted detector.

    Parameters
    ----------
    model
        A system, a recipe, the path of one, or "my_file.py:MySystem".
    device
        Where to compute: "cpu", "cuda:0".
    parameters
        Parameters of the system by name; of a recipe also any of its keys, such as `input_s=10`
        or `**{"losses[0].subclusters": 4}`.

    Raises
    ------
    UserError
        There is no such system or parameter, or a value cannot be.

    Examples
    --------
    >>> import asd
    >>> asd.create("ae", epochs=30).parameters.epochs
    30
    >>> asd.create("ae", epoch=30)
    Traceback (most recent call last):
    ...
    asd.errors.UserError: ae has no parameter 'epoch' (did you mean epochs?)
    """
    entry = find_system(absolute_reference(model, Path()))  # stored, and read in other folders
    known = {each.name: each for each in parameters_of(entry.parameters_class())}
    nested, changes = [], {}
    for name, value in parameters.items():
        if name not in known:
            if entry.recipe is None:
                raise UserError(f"{entry.label} has no parameter {name!r}{nearest(name, known)}")
            nested.append(f"{name}={_as_yaml(value)}")
            continue
        try:
            changes[known[name].path] = known[name].convert(value)
        except ValueError as error:
            raise UserError(f"{name}: expected {error}, got {value!r}") from None
    return Detector.create(entry, with_values(entry.defaults(nested), changes), device)


def learn(
    where: str | Path | Iterable[str | Path],
    model: str = "stats",
    *,
    window_s: float = 10.0,
    table: str | Path | None = None,
    others: Sequence[str | Path] = (),
    hold_out: Literal["auto", "each", "third"] = "auto",
    score: str = "",
    machine: str = MACHINE,
    seed: int = 13711,
    device: str = "cpu",
    progress: bool = True,
    **parameters: Any,
) -> Detector:
    """A detector of a machine's normal sound, from one's own recordings.

    Its p-values and decisions come from recordings that it, or a detector of the other parts, did
    not learn from.

    Parameters
    ----------
    where
        Normal recordings: a folder, files, or several of either.
    model
        A system, a recipe, or a class of your own, as in `create`; or "auto", which tries a few.
    window_s
        Longer recordings are scored in windows of this length in seconds.
    table
        CSV file of what is known: file, label, domain, condition, session.
    others
        With "auto": recordings of other machines, to choose by.
    hold_out
        "each": every recording in turn, which takes 21 trainings; "third": a third that is never
        learned, which takes one; "auto": each where that takes seconds.
    score
        The score that decides; "" takes the system's first.
    machine
        What the machine is called.
    parameters
        Of the system, such as `channel="mix"`.

    Raises
    ------
    UserError
        There are no recordings, too few, or they cannot be learned from.

    Examples
    --------
    >>> import asd
    >>> pump = asd.learn(getfixture("sounds"), window_s=0.2, progress=False)
    >>> scores = pump.score([getfixture("any_wav")])
    >>> scores
    <ScoreTable: 1 clips of recordings; MAHALA>
    >>> bool(pump.p_values(scores, "MAHALA") >= 1 / 3)
    True
    """
    from asd.monitoring.learning import learn as learn_recordings
    from asd.monitoring.plan import AUTO, DEFAULT_MODEL, Plan
    from asd.monitoring.table import read_table

    is_auto = model == AUTO
    made = create(DEFAULT_MODEL if is_auto else model, device=device, **parameters)
    plan = Plan(made.entry, made.parameters, window_s, hold_out, score, seed, device)
    known = None if table is None else read_table(Path(table))
    learned = learn_recordings(
        where, plan, machine=machine, known=known, choosing=is_auto,
        others=[Path(place) for place in others], progress=progress,
    )  # fmt: skip
    if learned.choice is not None:
        log.info("%s", "; ".join(learned.choice.table()))
    for path, reason in learned.survey.unreadable:
        log.warning("%s: %s; it is left out", path, reason)
    return learned.detector


def load(path: str | Path, *, device: str = "cpu") -> Detector:
    """A detector that `Detector.save`, or `asd train`, has written.

    Raises
    ------
    UserError
        There is none, or the file is damaged.

    Examples
    --------
    >>> import asd
    >>> asd.load(getfixture("fan_model")).score([getfixture("any_wav")])
    <ScoreTable: 1 clips of fan; MSE, MAHALA, MAHALA-FRAME>
    """
    return Detector.load(Path(path), device=device)


@dataclass(frozen=True)
class Evaluation:
    """Metrics of labelled test clips.

    Parameters
    ----------
    tables
        (machine type, score) -> metrics per section.
    official
        Score -> machine type -> official score by the year's rule; of several machine types also
        their mean, as "all".
    own_domain
        Score -> harmonic mean over machine types of AUC of either domain's own clips, and pAUC of
        all: not the official rule, but what some systems are published with. nan where a domain
        has no normal or no anomalous clip.

    Examples
    --------
    >>> import asd
    >>> fan = asd.load_challenge("DCASE2023T2", getfixture("tiny_data")).dev["fan"]
    >>> found = asd.evaluate(asd.load(getfixture("fan_model")).score(fan.test, ["MSE"]))
    >>> found.tables["fan", "MSE"].columns[:3]
    ('AUC (source)', 'AUC (target)', 'pAUC')
    >>> list(found.official["MSE"])
    ['fan']
    """

    tables: Mapping[tuple[str, str], ResultTable]
    official: Mapping[str, Mapping[str, float]]
    own_domain: Mapping[str, float]

    def metric(self, name: str, machine: str, score: str) -> float:
        """Mean of a metric such as "AUC (source)" over the sections that have it; else nan."""
        return arithmetic_mean(self.tables[machine, score].column(name))

    def __repr__(self) -> str:
        lines = []
        for (machine, score), table in self.tables.items():
            shown = ("AUC", "AUC (source)", "AUC (target)", "pAUC")
            values = [
                f"{name} {self.metric(name, machine, score):.4f}"
                for name in shown
                if name in table.columns
            ]
            official = self.official.get(score, {}).get(machine)
            values += [] if official is None else [f"official score {official:.4f}"]
            lines.append(f"{machine} {score}: {', '.join(values)}")
        return "\n".join(lines)


def evaluate(
    scores: ScoreTable, *, max_fpr: float = 0.1, challenge: str | None = None
) -> Evaluation:
    """Metrics of the scores of labelled clips, by machine type and score.

    Parameters
    ----------
    scores
        As `Detector.score` gives them.
    max_fpr
        pAUC is taken up to this false positive rate.
    challenge
        Year whose rule makes the official score; None takes that of the newest.

    Raises
    ------
    UserError
        A clip is not labelled.

    Examples
    --------
    >>> import asd
    >>> model = asd.load(getfixture("fan_model"))
    >>> fan = asd.load_challenge("DCASE2023T2", getfixture("tiny_data")).dev["fan"]
    >>> found = asd.evaluate(model.score(fan.test, ["MSE"]))
    >>> 0 <= found.metric("AUC (source)", "fan", "MSE") <= 1
    True
    """
    unlabelled = [clip for clip in scores.clips if clip.label not in LABELS]
    if unlabelled:
        raise UserError(
            f"{unlabelled[0].path}: is not known to be normal or anomalous; metrics need labels"
        )
    rule = load_year(challenge or "DCASE2026T2").official_score
    tables: dict[tuple[str, str], ResultTable] = {}
    official: dict[str, dict[str, float]] = {}
    domains: dict[str, list[Mapping[str, float]]] = {}
    for machine, own in scores.by_machine():
        for score in own.columns:
            table, parts = result_table(section_scores(own, score), max_fpr, f"{machine} {score}")
            tables[machine, score] = table
            official.setdefault(score, {})[machine] = official_score(rule, list(parts.values()))
            domains.setdefault(score, []).extend(parts.values())
    for by_machine in official.values():
        if len(by_machine) > 1:
            by_machine["all"] = official_mean(rule, list(by_machine.values()))
    own_domain = {score: own_domain_mean(parts) for score, parts in domains.items()}
    return Evaluation(tables, official, own_domain)


def _as_yaml(value: Any) -> str:
    """A value as the flag --set takes it: JSON is YAML."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return json.dumps(list(value) if is_list else value)
