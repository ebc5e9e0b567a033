"""One training of a trial, in memory: learn some machine types, and judge the scores."""

import hashlib
import inspect
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from asd import __version__
from asd.audio.clip_set import ClipSet
from asd.clips import LABELS, Clip
from asd.config import Config
from asd.detector import Detector
from asd.errors import UserError
from asd.evaluation.metrics import official_score
from asd.evaluation.results import result_table, section_scores
from asd.files import write_json
from asd.jobs.data import machine_clips, of_sections
from asd.jobs.jobs import Job, plan_jobs
from asd.jobs.training import device, training_clips
from asd.schema.parameters import plain
from asd.scores.table import ScoreTable
from asd.search.stand_ins import (
    MOST_OTHERS,
    Indices,
    evenly,
    nothing_stands_in,
    pseudo_metrics,
    stand_in,
    take_apart,
)
from asd.systems.registry import SystemEntry

Found = dict[str, dict[str, dict[str, float]]]
"""Score -> machine type -> metric -> value."""


def training_job(config: Config, machines: tuple[str, ...], by_stand_ins: bool) -> Job:
    """The job of a training; its tag says all that the metrics depend on."""
    config = replace(config, machine_types=machines)
    facts = {
        "system": config.entry.system,
        "code": code_of(config.entry),
        "version": __version__,
        "parameters": plain(config.system),
        "dataset": config.dataset,
        "split": config.split,
        "dataset_directory": str(config.dataset_directory.absolute()),
        "mono": config.mono,
        "machines": machines,
        "seed": config.seed,
        "max_fpr": config.max_fpr,
        "by_stand_ins": by_stand_ins,
    }
    text = json.dumps(facts, sort_keys=True)
    return Job(config, machines, (), hashlib.sha256(text.encode()).hexdigest()[:20])


def code_of(entry: SystemEntry) -> str:
    """SHA-256 of the file of a system from outside the package, which may change; else ""."""
    cls = entry.system_class()
    if cls.__module__.split(".")[0] == "asd":
        return ""
    try:
        return hashlib.sha256(Path(inspect.getfile(cls)).read_bytes()).hexdigest()
    except (OSError, TypeError):  # it is not in a file
        return ""


def file_of(folder: Path, job: Job) -> Path:
    """Where a training's metrics are kept."""
    return folder / f"{job.tag}.json"


def read_metrics(folder: Path, job: Job) -> Found | None:
    """The metrics of a training, undefined ones nan; None where it is not done, or damaged."""
    try:
        found = json.loads(file_of(folder, job).read_text(encoding="utf-8"))
        kept = {
            score: {
                machine: {name: math.nan if v is None else float(v) for name, v in own.items()}
                for machine, own in machines.items()
            }
            for score, machines in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    is_whole = all(
        machines.keys() == {*job.machines} and all(machines.values()) for machines in kept.values()
    )
    return kept if kept and is_whole else None


def do_training(
    job: Job, threads: int, folder: Path, by_stand_ins: bool, all_machines: tuple[str, ...]
) -> None:
    """Do a training and keep its metrics in `folder`, unless they are there.

    Parameters
    ----------
    by_stand_ins
        Whether stand-ins for anomalies are judged, or the labelled test clips.
    all_machines
        Machine types of the search, whose clips are the stand-ins.

    Raises
    ------
    UserError
        The clips cannot be learned from or scored, or test clips have no labels.
    """
    if read_metrics(folder, job) is not None:
        return
    torch.set_num_threads(threads)
    with _quiet():
        if by_stand_ins:
            found = _by_stand_ins(job, threads, all_machines)
        else:
            found = _by_tests(job, threads)
    kept = {
        score: {
            machine: {name: None if math.isnan(value) else value for name, value in own.items()}
            for machine, own in machines.items()
        }
        for score, machines in found.items()
    }
    write_json(file_of(folder, job), kept, durable=False)  # can be made again


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings of single trainings, which every trial would repeat, go to the log of --debug."""
    logger = logging.getLogger("asd")
    before = logger.level
    if before > logging.DEBUG:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _by_tests(job: Job, threads: int) -> Found:
    tables: dict[str, list[ScoreTable]] = {}
    for planned in plan_jobs(job.config):
        detector = _fitted(job.config, training_clips(planned, threads))
        for machine in planned.machines:
            clips = machine_clips(job.config, machine, "test", threads)
            own = of_sections(job.config, clips, planned.sections)
            check_labels(own.clips, job.config.dataset)
            tables.setdefault(machine, []).append(detector.score(own).rounded())
    rule, found = job.config.challenge.official_score, Found()
    for machine, parts in tables.items():
        table = ScoreTable.concat(parts)
        for score in table.columns:
            label = f"{machine} {score}"
            _, by_section = result_table(section_scores(table, score), job.config.max_fpr, label)
            metrics = {"official": official_score(rule, list(by_section.values()))}
            found.setdefault(score, {})[machine] = metrics | _means(by_section)
    return found


def check_labels(clips: Sequence[Clip], dataset: str) -> None:
    """Refuse test clips of which one has no label.

    Raises
    ------
    UserError
        Names the clip, and what else can be done.
    """
    for clip in clips:
        if clip.label not in LABELS:
            raise UserError(
                f"{clip.path}: a test clip without a label, by which trials cannot be judged; "
                f"give labels (asd rename --dataset {dataset}), or search by "
                "--objective pseudo_auc"
            )


def _means(by_section: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Means over sections, nan where one has none."""
    rows = list(by_section.values())
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _by_stand_ins(job: Job, threads: int, all_machines: tuple[str, ...]) -> Found:
    found, count = Found(), Found()
    for planned in plan_jobs(job.config):
        for machine, score, metrics in _pseudo_metrics(planned, threads, all_machines):
            own = found.setdefault(score, {}).setdefault(machine, {})
            seen = count.setdefault(score, {}).setdefault(machine, {})
            for name, value in metrics.items():  # the mean over the models of sections
                seen[name] = seen.get(name, 0) + 1
                own[name] = own.get(name, 0.0) + (value - own.get(name, 0.0)) / seen[name]
    return found


def _pseudo_metrics(
    planned: Job, threads: int, all_machines: tuple[str, ...]
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Machine type, score and metrics of a model that learns a part of its clips."""
    config = planned.config
    train = training_clips(planned, threads)
    own = {machine: train.select(members) for machine, members in train.by_machine().items()}
    parts = {machine: take_apart(clips.clips, config.seed) for machine, clips in own.items()}
    members = train.by_machine()
    learned = [members[machine][i] for machine, part in parts.items() for i in part.learned]
    detector = _fitted(config, train.select(sorted(learned)))

    def unlearned(machine: str) -> ClipSet:
        """Normal clips of a machine type that the detector has not learned from."""
        if machine in parts:
            return own[machine].select(parts[machine].normal)
        return machine_clips(config, machine, "train", threads)

    for machine, part in parts.items():
        others = [unlearned(other) for other in all_machines if other != machine]
        kinds = _stand_ins(own[machine], part.attribute, others)
        usual = detector.score(unlearned(machine))
        strange = {
            kind: ScoreTable.concat([detector.score(clips) for clips in sets])
            for kind, sets in kinds.items()
        }
        for score in usual.columns:
            values = {kind: table[score] for kind, table in strange.items()}
            yield machine, score, pseudo_metrics(usual[score], values)


def _stand_ins(own: ClipSet, attribute: Indices, others: list[ClipSet]) -> dict[str, list[ClipSet]]:
    """Kind -> clips that stand in for anomalies at a machine type."""
    kinds: dict[str, list[ClipSet]] = {}
    if others:
        share = max(MOST_OTHERS // len(others), 1)
        kinds["machine"] = [
            stand_in(clips.select(evenly(len(clips), share)), own[0]) for clips in others
        ]
    if len(attribute):
        kinds["attribute"] = [own.select(attribute)]
    if not kinds:
        raise nothing_stands_in(own[0].machine)
    return kinds


def _fitted(config: Config, train: ClipSet) -> Detector:
    detector = Detector.create(config.entry, config.system, device(config))
    return detector.fit(train, seed=config.seed, progress=False, normal_scores=False)
