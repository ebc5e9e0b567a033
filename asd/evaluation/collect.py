"""Records of tests of all systems, machine types, sections and seeds, gathered into arrays."""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd.challenge.catalog import Challenge
from asd.errors import UserError
from asd.evaluation.metrics import FloatArray, official_score
from asd.evaluation.records import TestRecord, read_records

_log = logging.getLogger(__name__)

SUMMARY_METRICS = (
    "AUC", "pAUC", "pAUC (source)", "pAUC (target)", "AUC (source)", "AUC (target)",
)  # fmt: skip


@dataclass(frozen=True)
class MachineResults:
    """Results of one system for one machine type.

    `metrics` are those of SUMMARY_METRICS that the result files have; `values` has shape
    (seeds, sections, metrics), with the sections of the catalog, nan where there is no result.
    `official` has shape (seeds,): the year's official score, nan where it can't be computed.
    `domains` holds the metrics that it is made of, for each seed those of each section; none where
    a section lacks a result.
    """

    seeds: tuple[int, ...]
    sections: tuple[str, ...]
    metrics: tuple[str, ...]
    values: FloatArray
    official: FloatArray
    domains: tuple[tuple[Mapping[str, float], ...], ...] = ()

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
            self.values[kept], self.official[kept], tuple(self.domains[i] for i in kept),
        )  # fmt: skip


@dataclass(frozen=True)
class SystemResults:
    """Results of one system with one score.

    Parameters
    ----------
    export_dir, score, variant
        See `asd.evaluation.records.TestRecord`.
    machines
        By machine type.
    """

    export_dir: str
    score: str
    variant: str
    machines: Mapping[str, MachineResults]

    @property
    def name(self) -> str:
        """Name of the row in tables."""
        return "_".join(filter(None, (self.export_dir, self.score, self.variant)))

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that it has results of."""
        return tuple(sorted({seed for found in self.machines.values() for seed in found.seeds}))

    def of_seeds(self, seeds: Collection[int]) -> "SystemResults":
        """Only the results of some seeds; a machine type without any is left out."""
        chosen = {name: found.of_seeds(seeds) for name, found in self.machines.items()}
        kept = {name: own for name, own in chosen.items() if own.seeds}
        return SystemResults(self.export_dir, self.score, self.variant, kept)


def collect(
    results: Path, challenge: Challenge, split: str, export_dir: str, all_systems: bool = False
) -> tuple[SystemResults, ...]:
    """Read the records of every system below `results`; damaged ones are logged and left out.

    The systems of `export_dir` come first, by name of the score; with `all_systems` then those of
    others. A section's results come from the model that was trained for it (the most special one,
    if several are).

    Raises
    ------
    UserError
        There are no results of the challenge, or a record has a machine type that is none of its.
    """
    groups: dict[tuple[str, str, str], list[TestRecord]] = {}
    for path, record in read_records(results, split):
        is_wanted = all_systems or record.export_dir == export_dir
        if is_wanted and (record.dataset, record.split) == (challenge.name, split):
            _check_machine(path, record, challenge)
            key = record.export_dir, record.score, record.variant
            groups.setdefault(key, []).append(record)
    if not groups:
        raise UserError(
            f"{results / f'{split}_data'}: no results of {challenge.name} in a folder such as "
            f"{export_dir}_MSE; run the test step for its {split} data first (results of older "
            "versions have no job_*.json: test again), or name another --result_directory"
        )
    ordered = sorted(groups, key=lambda key: (key[0] != export_dir, key))
    systems = tuple(_read_system(key, groups[key], challenge, split) for key in ordered)
    _tell_limits(groups)
    return systems


def _check_machine(path: Path, record: TestRecord, challenge: Challenge) -> None:
    known = challenge.split(record.split).sections
    if record.machine not in known:
        raise UserError(
            f"{path}: machine type {record.machine!r} is not in the {record.split} data of "
            f"{challenge.name}; remove the file"
        )


def _tell_limits(groups: Mapping[tuple[str, str, str], list[TestRecord]]) -> None:
    limits = sorted({record.max_fpr for records in groups.values() for record in records})
    if len(limits) > 1:
        shown = ", ".join(f"{limit:g}" for limit in limits)
        _log.warning("pAUC of these results was taken up to different --max_fpr: %s", shown)


def _read_system(
    key: tuple[str, str, str], records: list[TestRecord], challenge: Challenge, split: str
) -> SystemResults:
    machines = {}
    name = "_".join(filter(None, key))
    for machine, sections in challenge.split(split).sections.items():
        own = [record for record in records if record.machine == machine]
        if own:
            machines[machine] = _read_machine(name, own, sections, challenge)
    with_tables = [m for m, found in machines.items() if found.metrics]
    missing = [m for m in challenge.split(split).sections if m not in with_tables]
    if missing:
        _log.info("%s: no metrics of %s", name, ", ".join(missing))
    return SystemResults(*key, machines)


def _read_machine(
    system: str, records: list[TestRecord], sections: tuple[str, ...], challenge: Challenge
) -> MachineResults:
    seeds = tuple(sorted({record.seed for record in records}))
    by_seed = [[r for r in records if r.seed == seed] for seed in seeds]
    chosen = [by_section(own, sections) for own in by_seed]
    tables = [record.table for own in chosen for record in own.values()]
    columns = {column for table in tables if table is not None for column in table.columns}
    metrics = tuple(metric for metric in SUMMARY_METRICS if metric in columns)
    values = np.full((len(seeds), len(sections), len(metrics)), np.nan)
    for i, own in enumerate(chosen):
        for j, section in enumerate(sections):
            if section in own:
                values[i, j] = _row(own[section], section, metrics)
        lost = [s for s in sections if s not in own]
        if own and lost:
            where = f"{system}, {records[0].machine}, seed {seeds[i]}"
            _log.warning("%s: no results of section %s; left empty", where, ", ".join(lost))
    domains = tuple(_domains(own, sections) for own in chosen)
    rule = challenge.official_score
    official = [official_score(rule, own) if own else np.nan for own in domains]
    return MachineResults(
        seeds, sections, metrics, values, np.array(official, dtype=np.float64), domains
    )


def by_section(records: list[TestRecord], sections: Iterable[str]) -> dict[str, TestRecord]:
    """By section, the labelled record of the most special model that was trained for it."""
    chosen = {}
    for section in sections:
        covering = [
            record
            for record in records
            if record.table is not None
            and section in record.table.sections
            and (not record.sections or section in record.sections)
        ]
        if covering:
            chosen[section] = min(covering, key=lambda record: len(record.sections) or np.inf)
    return chosen


def _row(record: TestRecord, section: str, metrics: tuple[str, ...]) -> FloatArray:
    table = record.table
    assert table is not None  # of labelled records only
    values = table.values[table.sections.index(section)]
    named = dict(zip(table.columns, values.tolist(), strict=True))
    return np.array([named.get(metric, np.nan) for metric in metrics])


def _domains(
    chosen: Mapping[str, TestRecord], sections: tuple[str, ...]
) -> tuple[Mapping[str, float], ...]:
    """What the official score is made of, of each section; none if one lacks a result."""
    if any(section not in chosen for section in sections):
        return ()
    return tuple(dict(chosen[section].official[section]) for section in sections)
