"""Results in the columns of another program, so that both can be laid side by side.

unlabeledasd (github.com/TakuyaFujimura/unlabeledasd, evaluate23.py) writes a table for each machine
type, with a row for each score and these columns, in which {d} and {a} stand as they are:

    post_process             "AS-" and the name of the score
    0_<domain>_<metric>_only of section 0, that domain's clips alone
    0_<domain>_<metric>_all  that domain's normal clips against the anomalies of both domains
    0_all_pauc_all           all clips
    hmean_official           harmonic mean of both AUC "all" and of 0_all_pauc_all
    hmean_0_...              harmonic means over both domains ({d}) and over AUC and pAUC ({a})

Metrics are auc, and pauc up to a false positive rate of 0.1.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asd.challenge.catalog import Challenge
from asd.challenge.names import parse_clip_name
from asd.csvfiles import cells, write_rows
from asd.errors import UserError
from asd.evaluation.collect import by_section
from asd.evaluation.metrics import auc, harmonic_mean, partial_auc
from asd.evaluation.records import TestRecord, read_records
from asd.evaluation.results import read_scores

_MAX_FPR = 0.1

_MEANS = {
    "hmean_official": ("0_source_auc_all", "0_target_auc_all", "0_all_pauc_all"),
    "hmean_0_{d}_auc_only": ("0_source_auc_only", "0_target_auc_only"),
    "hmean_0_source_{a}_only": ("0_source_auc_only", "0_source_pauc_only"),
    "hmean_0_target_{a}_only": ("0_target_auc_only", "0_target_pauc_only"),
    "hmean_0_{d}_{a}_only": (
        "0_source_auc_only", "0_target_auc_only", "0_source_pauc_only", "0_target_pauc_only",
    ),
    "hmean_0_{d}_auc_all": ("0_source_auc_all", "0_target_auc_all"),
    "hmean_0_{d}_{a}_all": (
        "0_source_auc_all", "0_target_auc_all", "0_source_pauc_all", "0_target_pauc_all",
    ),
}  # fmt: skip
"""Column -> the columns that it is the harmonic mean of."""

UNLABELEDASD_COLUMNS = (
    *_MEANS,
    *(
        f"0_{domain}_{metric}_{which}"
        for which in ("only", "all")
        for domain in ("source", "target")
        for metric in ("auc", "pauc")
    ),
    "0_all_pauc_all",
)
"""The columns after post_process, in their order."""


@dataclass(frozen=True)
class PublishedRow:
    """The columns of one test.

    Parameters
    ----------
    method, machine, seed
        Of the table that it stands in.
    post_process
        First cell of the row.
    values
        By column; nan where a metric is undefined.
    """

    method: str
    machine: str
    seed: int
    post_process: str
    values: dict[str, float]


def unlabeledasd_columns(
    scores: npt.ArrayLike, is_anomaly: npt.ArrayLike, is_target: npt.ArrayLike
) -> dict[str, float]:
    """The columns of one machine type, in their order; nan where a metric is undefined.

    Parameters
    ----------
    scores, is_anomaly, is_target
        Shape (clips,).
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(is_anomaly).astype(bool)
    target = np.asarray(is_target).astype(bool)
    found: dict[str, float] = {}
    for domain, own in (("source", ~target), ("target", target)):
        for which, chosen in (("only", own), ("all", own | truth)):
            # Without a normal clip of the domain, "all" holds anomalies alone and is undefined.
            found[f"0_{domain}_auc_{which}"] = auc(truth[chosen], values[chosen])
            found[f"0_{domain}_pauc_{which}"] = partial_auc(truth[chosen], values[chosen], _MAX_FPR)
    found["0_all_pauc_all"] = partial_auc(truth, values, _MAX_FPR)
    for name, parts in _MEANS.items():
        found[name] = _mean([found[part] for part in parts])
    return {name: found[name] for name in UNLABELEDASD_COLUMNS}


def unlabeledasd_rows(
    results: Path, challenge: Challenge, split: str, export_dir: str, all_systems: bool = False
) -> list[PublishedRow]:
    """The rows of all labelled tests of a year's "dev" or "eval" data, from their score files.

    Parameters
    ----------
    export_dir, all_systems
        As of `asd.evaluation.collect.collect`.

    Raises
    ------
    UserError
        A machine type of the year has several sections, for which there are no such columns; there
        is no labelled result; or a file is damaged.
    """
    sections = challenge.split(split).sections
    if any(len(own) != 1 for own in sections.values()):
        raise UserError(
            f"--columns unlabeledasd: machine types of {challenge.name} have several sections, for "
            "which that program has no columns; take a year from 2023 on"
        )
    groups: dict[tuple[str, str, int, str], dict[Path, TestRecord]] = {}
    for path, record in read_records(results, split):
        is_wanted = all_systems or record.export_dir == export_dir
        if is_wanted and record.dataset == challenge.name and record.machine in sections:
            score = "_".join(filter(None, (record.score, record.variant)))
            key = record.export_dir, record.machine, record.seed, score
            groups.setdefault(key, {})[path] = record
    rows = []
    for (method, machine, seed, score), records in sorted(groups.items()):
        for section, record in by_section(list(records.values()), sections[machine]).items():
            path = next(path for path, each in records.items() if each is record)
            values = _of_file(path.parent / record.files[section].scores)
            rows.append(PublishedRow(method, machine, seed, f"AS-{score}", values))
    if not rows:
        raise UserError(
            f"{results / f'{split}_data'}: no labelled results of {challenge.name}; run the test "
            "step first (evaluation clips get labels by asd rename)"
        )
    return rows


def write_unlabeledasd(folder: Path, rows: Iterable[PublishedRow]) -> list[Path]:
    """Write the tables, and return their paths: that of all rows first.

        <folder>/results.csv
        <folder>/<method>_<seed>/<machine>/test_result.csv

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    ordered = list(rows)
    tables: dict[Path, list[list[str]]] = {}
    whole = [["method", "seed", "machine", "post_process", *UNLABELEDASD_COLUMNS]]
    for row in ordered:
        line = [row.post_process, *cells(row.values.values())]
        whole.append([row.method, str(row.seed), row.machine, *line])
        path = folder / f"{row.method}_{row.seed}" / row.machine / "test_result.csv"
        tables.setdefault(path, [["post_process", *UNLABELEDASD_COLUMNS]]).append(line)
    paths = [folder / "results.csv", *tables]
    for path, lines in zip(paths, [whole, *tables.values()], strict=True):
        write_rows(path, lines)
    return paths


def _of_file(path: Path) -> dict[str, float]:
    names, scores = read_scores(path)
    clips = [parse_clip_name(name) for name in names]
    is_anomaly = [clip.label == "anomaly" for clip in clips]
    return unlabeledasd_columns(scores, is_anomaly, [clip.domain == "target" for clip in clips])


def _mean(values: list[float]) -> float:
    """Harmonic mean, 0 if a value is; nan if any is undefined."""
    return float("nan") if np.isnan(values).any() else harmonic_mean(values, floor=0)
