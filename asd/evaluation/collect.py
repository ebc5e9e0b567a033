"""Result files of all systems, machine types, sections and seeds, gathered into arrays."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd.challenge.catalog import Challenge
from asd.challenge.names import parse_clip_name
from asd.clips import LABELS
from asd.errors import UserError
from asd.evaluation.metrics import FloatArray, domain_metrics, official_score
from asd.evaluation.results import (
    ResultFile,
    ResultTable,
    parse_result_name,
    read_result,
    read_scores,
    score_folder,
)

_log = logging.getLogger(__name__)

OFFICIAL_SCORES = ("MAHALA", "MSE")
SUMMARY_METRICS = (
    "AUC", "pAUC", "pAUC (source)", "pAUC (target)", "AUC (source)", "AUC (target)",
)  # fmt: skip

_TAG_IDS = re.compile(r"_?id\((?P<ids>(?:\d+_)*\d+_?)\)")


@dataclass(frozen=True)
class MachineResults:
    """Results of one system for one machine type.

    `metrics` are those of SUMMARY_METRICS that the result files have; `values` has shape
    (seeds, sections, metrics), with the sections of the catalog, nan where there is no result.
    `official` has shape (seeds,): the year's official score, nan where it can't be computed.
    """

    seeds: tuple[int, ...]
    sections: tuple[str, ...]
    metrics: tuple[str, ...]
    values: FloatArray
    official: FloatArray

    def pooled(self, metric: str) -> FloatArray:
        """All values of a metric, (seeds * sections,); empty if there is no such metric."""
        if metric not in self.metrics:
            return np.empty(0)
        return self.values[:, :, self.metrics.index(metric)].ravel()

    def of_seeds(self, seeds: Collection[int]) -> "MachineResults":
        """Only the results of some seeds."""
        kept = [i for i, seed in enumerate(self.seeds) if seed in seeds]
        return MachineResults(
            tuple(self.seeds[i] for i in kept), self.sections, self.metrics,
            self.values[kept], self.official[kept],
        )  # fmt: skip


@dataclass(frozen=True)
class SystemResults:
    """Results of one system: a score folder, and what its model tags hold besides section ids."""

    name: str
    machines: Mapping[str, MachineResults]

    def of_seeds(self, seeds: Collection[int]) -> "SystemResults":
        """Only the results of some seeds; a machine type without any is left out."""
        chosen = {name: found.of_seeds(seeds) for name, found in self.machines.items()}
        return SystemResults(self.name, {name: own for name, own in chosen.items() if own.seeds})


@dataclass(frozen=True)
class _Found:
    """A result file and the sections that its model was trained for (None: all)."""

    path: Path
    file: ResultFile
    ids: frozenset[str] | None


def collect(
    results: Path, challenge: Challenge, split: str, export_dir: str, all_systems: bool = False
) -> tuple[SystemResults, ...]:
    """Read the result files of every system below `results`.

    A system is a folder <export_dir>_<score> with results of the challenge: MAHALA and MSE first,
    then the others by name; with `all_systems` also those of other export_dirs. Tags such as
    "id(0_)" tell which sections a model was trained for, and a section's results come from the
    model for it (the most special one, if several are). What a tag says besides makes a system of
    its own.

    Raises
    ------
    UserError
        There are no results of the challenge, or a result file is damaged; tells file and line.
    """
    parent = results / f"{split}_data"
    first = [score_folder(results, split, export_dir, score) for score in OFFICIAL_SCORES]
    found = (p for p in parent.glob("*_*") if p.is_dir() and p not in first)
    others = sorted(p for p in found if all_systems or _export_dir(p) == export_dir)
    systems = tuple(
        _read_system("_".join(filter(None, (folder.name, rest))), files, challenge, split)
        for folder in [*first, *others]
        for rest, files in sorted(_scan(folder, challenge, split).items())
    )
    if not systems:
        raise UserError(
            f"{parent}: no results of {challenge.name} in a folder such as {first[1].name}; run "
            f"the test step for its {split} data first, or name another --result_directory"
        )
    return systems


def tag_without_ids(tag: str) -> str:
    """What a model's tag says besides its sections: "v2" of "id(0_)_v2"."""
    return _TAG_IDS.sub("", tag).strip("_")


def _export_dir(folder: Path) -> str:
    """The first part of <export_dir>_<score>; no score holds an underscore."""
    return folder.name.rpartition("_")[0]


def _scan(folder: Path, challenge: Challenge, split: str) -> dict[str, list[_Found]]:
    """Result and score files of the challenge in a folder, by what tags hold besides ids."""
    variants: dict[str, list[_Found]] = {}
    unknown = set()
    for path in sorted(folder.glob("*.csv")):
        file = parse_result_name(path.name)
        if file is None or (file.name.dataset, file.name.split) != (challenge.name, split):
            continue
        if file.name.machine not in challenge.split(split).sections:
            unknown.add(file.name.machine)
            continue
        match = _TAG_IDS.search(file.name.tag)
        ids = match and frozenset(f"{int(i):02d}" for i in match["ids"].split("_") if i)
        rest = tag_without_ids(file.name.tag)
        variants.setdefault(rest, []).append(_Found(path, file, ids or None))
    if unknown:
        names = ", ".join(sorted(unknown))
        _log.warning("%s: machine types not in the %s data, left out: %s", folder, split, names)
    return variants


def _read_system(name: str, files: list[_Found], challenge: Challenge, split: str) -> SystemResults:
    machines = {}
    for machine, sections in challenge.split(split).sections.items():
        own = [found for found in files if found.file.name.machine == machine]
        if own:
            machines[machine] = _read_machine(name, own, sections, challenge)
    with_tables = [m for m, found in machines.items() if found.metrics]
    missing = [m for m in challenge.split(split).sections if m not in with_tables]
    if missing:
        _log.info("%s: no metrics of %s", name, ", ".join(missing))
    return SystemResults(name, machines)


def _read_machine(
    system: str, files: list[_Found], sections: tuple[str, ...], challenge: Challenge
) -> MachineResults:
    seeds = tuple(sorted({found.file.name.seed for found in files}))
    by_seed = [[f for f in files if f.file.name.seed == seed] for seed in seeds]
    tables = [_choose_tables(own, sections) for own in by_seed]
    columns = {c for chosen in tables for table in chosen.values() for c in table.columns}
    metrics = tuple(metric for metric in SUMMARY_METRICS if metric in columns)
    values = np.full((len(seeds), len(sections), len(metrics)), np.nan)
    for i, chosen in enumerate(tables):
        for j, section in enumerate(sections):
            if section in chosen:
                values[i, j] = _row(chosen[section], section, metrics)
        lost = [s for s in sections if s not in chosen]
        if chosen and lost:
            where = f"{system}, {files[0].file.name.machine}, seed {seeds[i]}"
            _log.warning("%s: no results of section %s; left empty", where, ", ".join(lost))
    official = [_official(own, sections, challenge) for own in by_seed]
    return MachineResults(seeds, sections, metrics, values, np.array(official, dtype=np.float64))


def _choose_tables(files: list[_Found], sections: Iterable[str]) -> dict[str, ResultTable]:
    """By section, the table of its model, where that has a row for it."""
    own = [found for found in files if found.file.kind == "result"]
    tables = {found.path: read_result(found.path) for found in own}
    chosen = {}
    for section in sections:
        found = _model_of(own, section)
        if found and section in tables[found.path].sections:
            chosen[section] = tables[found.path]
    return chosen


def _model_of(files: list[_Found], section: str) -> _Found | None:
    """The file of the most special model that was trained for a section."""
    covering = [found for found in files if found.ids is None or section in found.ids]
    return min(covering, key=_breadth, default=None)


def _breadth(found: _Found) -> float:
    return np.inf if found.ids is None else len(found.ids)


def _row(table: ResultTable, section: str, metrics: tuple[str, ...]) -> FloatArray:
    values = table.values[table.sections.index(section)]
    named = dict(zip(table.columns, values.tolist(), strict=True))
    return np.array([named.get(metric, np.nan) for metric in metrics])


def _official(files: list[_Found], sections: tuple[str, ...], challenge: Challenge) -> float:
    """The official score from the score files, nan if a section lacks one or is unlabelled."""
    metrics = []
    for section in sections:
        own = [f for f in files if f.file.kind == "anomaly_score" and f.file.section == section]
        found = _model_of(own, section)
        measured = found and _labelled_metrics(found.path)
        if not measured:
            return float("nan")
        metrics.append(measured)
    return official_score(challenge.official_score, metrics)


def _labelled_metrics(path: Path) -> dict[str, float] | None:
    """Metrics of a score file by domain, None if its clips are not labelled."""
    file_names, scores = read_scores(path)
    try:
        names = [parse_clip_name(file_name) for file_name in file_names]
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if any(name.label not in LABELS for name in names):
        return None
    is_anomaly = [name.label == "anomaly" for name in names]
    return domain_metrics(scores, is_anomaly, [name.domain == "target" for name in names])
