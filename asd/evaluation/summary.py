"""The official summary tables, from result files.

Below <results>/{dev,eval}_data/<export_dir>/summarize/<dataset>/, names and columns as the public
DCASE 2023 Task 2 baseline (v5.1.1) writes them:

    <system>/result_<dataset><machine>_test_seed<seed>[_Eval]_roc.csv   sections of a machine type
    <dataset>_auc_pauc.csv           one row per system: every section, its means, the overall means
    <dataset>_auc_pauc_extract.csv   the overall means and those per machine type
    <dataset>_official_score.csv     ours: the year's official score
    <dataset>_official_score.md      the same as a Markdown table, mean ± standard deviation

Where the public table repeats the means of plain pAUC as those of "pAUC (source)" and
"pAUC (target)" (and in the ALL averages made of them), ours holds the true ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd.challenge.catalog import Challenge
from asd.csvfiles import cells, write_rows
from asd.evaluation.collect import SUMMARY_METRICS, MachineResults, SystemResults, collect
from asd.evaluation.metrics import (
    FloatArray,
    arithmetic_mean,
    harmonic_mean,
    official_mean,
    own_domain_mean,
    sample_std,
)
from asd.evaluation.results import MEAN_ROWS, ResultName
from asd.files import write_text

_ROWS_TWO_DOMAINS = (
    ("AUC (source)", "AUC (source)"),
    ("AUC (target)", "AUC (target)"),
    ("pAUC (source, target)", "pAUC"),
)
_ROWS_ONE_DOMAIN = (("AUC", "AUC"), ("pAUC", "pAUC"))


@dataclass(frozen=True)
class Summary:
    """Results of all systems on a challenge year's data set, and the folder for their tables."""

    challenge: Challenge
    split: str
    folder: Path
    systems: tuple[SystemResults, ...]

    @property
    def machines(self) -> tuple[str, ...]:
        """Machine types of the data set, in the order of the official tables."""
        return tuple(self.challenge.split(self.split).sections)

    def metrics(self, machine: str) -> tuple[str, ...]:
        """Metrics that any system has for a machine type, in the order of the official tables."""
        found = {
            metric
            for system in self.systems
            if machine in system.machines
            for metric in system.machines[machine].metrics
        }
        return tuple(metric for metric in SUMMARY_METRICS if metric in found)


@dataclass(frozen=True)
class OfficialScores:
    """The year's official score over seeds: in total, and per machine type with results.

    Parameters
    ----------
    systems
        Names of the rows.
    machines
        Names of the columns after the first, which is the total.
    mean, std
        Arithmetic mean and sample standard deviation, shape (systems, 1 + machines).
    own_domain
        Mean over seeds of `own_domain_mean`, shape (systems,); nan where there is one domain.
    """

    systems: tuple[str, ...]
    machines: tuple[str, ...]
    mean: FloatArray
    std: FloatArray
    own_domain: FloatArray

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return ("total", *self.machines)

    def present(self) -> "OfficialScores":
        """Without systems and machine types that have no result; all systems where none has."""
        has_result = ~np.isnan(self.mean)
        kept = [0, *(np.flatnonzero(has_result[:, 1:].any(axis=0)) + 1)]
        rows = np.flatnonzero(has_result.any(axis=1) | ~has_result.any())
        return OfficialScores(
            tuple(self.systems[i] for i in rows), tuple(self.columns[i] for i in kept[1:]),
            self.mean[np.ix_(rows, kept)], self.std[np.ix_(rows, kept)], self.own_domain[rows],
        )  # fmt: skip


def summarize(
    results: Path,
    challenge: Challenge,
    split: str,
    export_dir: str = "baseline",
    all_systems: bool = False,
) -> Summary:
    """Read all result files of a challenge year's "dev" or "eval" data; writes nothing.

    With `all_systems` those of other export_dirs are read, too; tables go to `export_dir`'s.

    Raises
    ------
    UserError
        See `asd.evaluation.collect.collect`.
    """
    folder = results / f"{split}_data" / export_dir / "summarize" / challenge.name
    systems = collect(results, challenge, split, export_dir, all_systems)
    return Summary(challenge, split, folder, systems)


def write_summary(summary: Summary) -> list[Path]:
    """Write all summary tables and return their paths, the joined results per machine type first.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    paths = []
    for system in summary.systems:
        for machine, found in system.machines.items():
            for i, seed in enumerate(found.seeds):
                if np.isnan(found.values[i]).all():
                    continue
                name = ResultName(summary.challenge.name, machine, summary.split, seed)
                paths.append(summary.folder / system.name / name.table())
                write_rows(paths[-1], _joined_rows(found, i))
    for kind, rows in (
        ("auc_pauc", auc_pauc_rows(summary)),
        ("auc_pauc_extract", extract_rows(summary)),
        ("official_score", official_rows(summary)),
    ):
        paths.append(summary.folder / f"{summary.challenge.name}_{kind}.csv")
        write_rows(paths[-1], rows, spreadsheet=True)
    paths.append(paths[-1].with_suffix(".md"))
    write_text(paths[-1], official_markdown(summary))
    return paths


def _joined_rows(found: MachineResults, seed_index: int) -> list[list[str]]:
    """Results of all sections of a machine type; the harmonic mean is not floored here."""
    values = found.values[seed_index]
    rows = [["id", *found.metrics]]
    rows += [[s, *cells(row)] for s, row in zip(found.sections, values, strict=True)]
    rows.append([MEAN_ROWS[0], *cells(arithmetic_mean(column) for column in values.T)])
    rows.append([MEAN_ROWS[1], *cells(harmonic_mean(column, floor=0) for column in values.T)])
    return rows


def auc_pauc_rows(summary: Summary) -> list[list[str]]:
    """Header and one row per system: every section, means per machine type, means over all."""
    columns = {system.name: auc_pauc_columns(summary, system) for system in summary.systems}
    header = next(iter(columns.values()), {})
    return [["", *header], *([name, *cells(found.values())] for name, found in columns.items())]


def auc_pauc_columns(summary: Summary, system: SystemResults) -> dict[str, float]:
    """The columns of a system, in order, nan where it has no result.

    Of each section over seeds: mean "_ave", sample standard deviation "_std" and harmonic mean
    "_hmean". Of each machine type: both means over sections and seeds together. "ALL_<metric>":
    mean and sample standard deviation of the machine types' arithmetic means, harmonic mean over
    all sections. "ALL_AUC" and "TOTAL_score": over all AUC values, and over these and the pAUC
    values, of both domains together, the standard deviation here with divisor n.
    """
    found: dict[str, float] = {}
    for machine in summary.machines:
        for metric in summary.metrics(machine):
            found |= _machine_columns(summary, system, machine, metric)
    present = [
        metric
        for metric in SUMMARY_METRICS
        if any(metric in summary.metrics(machine) for machine in summary.machines)
    ]
    for metric in present:
        means = [
            found[f"{machine}_{summary.split}_arithmetic mean_{metric}"]
            for machine in summary.machines
            if metric in summary.metrics(machine)
        ]
        found[f"ALL_{metric}_ave"] = arithmetic_mean(means)
        found[f"ALL_{metric}_std"] = sample_std(means)
        found[f"ALL_{metric}_hmean"] = harmonic_mean(_pooled(system, [metric]))
    aucs = [metric for metric in present if not metric.startswith("pAUC")]
    return (
        found
        | _pooled_columns("ALL_AUC", _pooled(system, aucs))
        | _pooled_columns("TOTAL_score", _pooled(system, [*aucs, "pAUC"]))
    )


def _machine_columns(
    summary: Summary, system: SystemResults, machine: str, metric: str
) -> dict[str, float]:
    sections = summary.challenge.split(summary.split).sections[machine]
    results = system.machines.get(machine)
    pooled = results.pooled(metric) if results else np.empty(0)
    values = pooled.reshape(-1, len(sections))
    found: dict[str, float] = {}
    for section, over_seeds in zip(sections, values.T, strict=True):
        base = f"{machine}_{summary.split}_{section}_{metric}"
        found[f"{base}_ave"] = arithmetic_mean(over_seeds)
        found[f"{base}_std"] = sample_std(over_seeds)
        found[f"{base}_hmean"] = harmonic_mean(over_seeds)
    found[f"{machine}_{summary.split}_arithmetic mean_{metric}"] = arithmetic_mean(pooled)
    found[f"{machine}_{summary.split}_harmonic mean_{metric}"] = harmonic_mean(pooled)
    return found


def _pooled(system: SystemResults, metrics: list[str]) -> FloatArray:
    """All values of some metrics, over machine types, sections and seeds."""
    parts = [found.pooled(metric) for found in system.machines.values() for metric in metrics]
    return np.concatenate([np.empty(0), *parts])


def _pooled_columns(base: str, values: FloatArray) -> dict[str, float]:
    defined = values[~np.isnan(values)]
    return {
        f"{base}_ave": arithmetic_mean(defined),
        f"{base}_std": float(np.std(defined)) if defined.size else float("nan"),
        f"{base}_hmean": harmonic_mean(defined),
    }


def extract_rows(summary: Summary) -> list[list[str]]:
    """Header and, per system, one row per metric: overall means, then a mean per machine type."""
    rows = [["System", "metric", "h-mean", "a-mean", *summary.machines]]
    metrics = {m: summary.metrics(m) for m in summary.machines}
    two_domains = any("AUC (source)" in found for found in metrics.values())
    for system in summary.systems:
        found = auc_pauc_columns(summary, system)
        for label, metric in _ROWS_TWO_DOMAINS if two_domains else _ROWS_ONE_DOMAIN:
            if f"ALL_{metric}_ave" in found and any(metric in own for own in metrics.values()):
                rows.append([system.name, label, *_extract_cells(summary, found, metric)])
        total = cells([found["TOTAL_score_hmean"], found["TOTAL_score_ave"]])
        rows.append([system.name, "TOTAL score", *total, *([""] * len(summary.machines))])
    return rows


def _extract_cells(summary: Summary, found: Mapping[str, float], metric: str) -> list[str]:
    keys = [f"ALL_{metric}_hmean", f"ALL_{metric}_ave"]
    keys += [f"{m}_{summary.split}_arithmetic mean_{metric}" for m in summary.machines]
    return cells(found.get(key, float("nan")) for key in keys)


def official_scores(summary: Summary) -> OfficialScores:
    """The official score of every system, by the rule of the catalog.

    The total is the year's mean over the machine types with results. A seed that lacks a machine
    type that others have is left out of the total.
    """
    machines = summary.machines
    samples = [
        [_totals(summary, system), *([*_by_seed(system, m).values()] for m in machines)]
        for system in summary.systems
    ]
    shape = len(summary.systems), 1 + len(machines)
    mean = np.array([[arithmetic_mean(seeds) for seeds in row] for row in samples]).reshape(shape)
    std = np.array([[sample_std(seeds) for seeds in row] for row in samples]).reshape(shape)
    own = np.array([arithmetic_mean(_own_domain(summary, each)) for each in summary.systems])
    names = tuple(system.name for system in summary.systems)
    return OfficialScores(names, machines, mean, std, own)


def official_rows(summary: Summary) -> list[list[str]]:
    """Header and one row per system of `official_scores`: total, machine types, their std.

    Where there are two domains, "own domain" is last.
    """
    scores = official_scores(summary)
    machines = scores.machines
    rows = [["System", "total", "total std", *machines, *(f"{m} std" for m in machines)]]
    for name, mean, std in zip(scores.systems, scores.mean, scores.std, strict=True):
        rows.append([name, *cells([mean[0], std[0], *mean[1:], *std[1:]])])
    if not np.isnan(scores.own_domain).all():
        column = ["own domain", *cells(scores.own_domain)]
        rows = [[*row, cell] for row, cell in zip(rows, column, strict=True)]
    return rows


def official_markdown(summary: Summary) -> str:
    """`official_scores` as a Markdown table in percent, the best of each column in bold."""
    scores = official_scores(summary).present()
    best = np.nanmax(scores.mean, axis=0, initial=-1.0)
    lines = [["System", *scores.columns], ["---", *("---:" for _ in scores.columns)]]
    for name, means, stds in zip(scores.systems, scores.mean, scores.std, strict=True):
        triples = zip(means, stds, best, strict=True)
        lines.append([name, *(_percent(mean, std, mean == top) for mean, std, top in triples)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _percent(mean: float, std: float, is_best: bool) -> str:
    if np.isnan(mean):
        return "-"
    text = f"{100 * mean:.2f}" if np.isnan(std) else f"{100 * mean:.2f} ± {100 * std:.2f}"
    return f"**{text}**" if is_best else text


def _by_seed(system: SystemResults, machine: str) -> dict[int, float]:
    """Official scores of a machine type by seed, where there are some."""
    found = system.machines.get(machine)
    if found is None:
        return {}
    pairs = zip(found.seeds, found.official.tolist(), strict=True)
    return {seed: score for seed, score in pairs if not np.isnan(score)}


def _own_domain(summary: Summary, system: SystemResults) -> list[float]:
    """`own_domain_mean` over machine types, of every seed that has all of them."""
    machines = [system.machines[m] for m in summary.machines if _by_seed(system, m)]
    return [
        own_domain_mean([each for own in machines for each in own.domains[own.seeds.index(seed)]])
        for seed in _whole_seeds(summary, system)
    ]


def _whole_seeds(summary: Summary, system: SystemResults) -> list[int]:
    """Seeds that have every machine type of which there are results."""
    scores = [own for own in (_by_seed(system, m) for m in summary.machines) if own]
    return sorted(set.intersection(*map(set, scores))) if scores else []


def _totals(summary: Summary, system: SystemResults) -> list[float]:
    """The official score over machine types, of every seed that has all of them."""
    scores = [own for own in (_by_seed(system, m) for m in summary.machines) if own]
    seeds = _whole_seeds(summary, system)
    rule = summary.challenge.official_score
    return [official_mean(rule, [own[seed] for own in scores]) for seed in seeds]


def format_summary(summary: Summary) -> str:
    """The extract as a plain-text table with aligned columns, 4 digits, "-" where missing.

    A row with the official score follows each system's metrics: its total stands under the
    kind of mean that the year's rule takes. With two domains another one gives the mean of AUC
    of each domain's own clips and pAUC.
    """
    header, *rows = extract_rows(summary)
    columns, *official_cells = official_rows(summary)
    official = {row[0]: row for row in official_cells}
    own = {row[0]: row[-1] for row in official_cells if columns[-1] == "own domain"}
    is_harmonic = summary.challenge.official_score.mean == "harmonic"
    lines = [header]
    for row in rows:
        lines.append([*row[:2], *map(_short, row[2:])])
        if row[1] == "TOTAL score":
            name, total, _, *scores = official[row[0]]
            means = [total, ""] if is_harmonic else ["", total]
            scores = scores[: len(summary.machines)]
            lines.append([name, "official score", *map(_short, [*means, *scores])])
            if own_domain := own.get(name):
                empty = [""] * (1 + len(summary.machines))
                lines.append([name, "own domain", *map(_short, [own_domain, *empty])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_align(line, widths) for line in lines) + "\n"


def _short(text: str) -> str:
    return f"{float(text):.4f}" if text else "-"


def _align(line: list[str], widths: list[int]) -> str:
    left = [word.ljust(width) for word, width in zip(line[:2], widths[:2], strict=True)]
    right = [word.rjust(width) for word, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right])
