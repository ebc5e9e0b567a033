"""The official result files: names, scores, decisions, and the table of metrics per section.

Names and forms are the public DCASE 2023 Task 2 baseline's (v5.1.1), so that its users' scripts and
the organisers' evaluators read the files unchanged:

    <results>/{dev,eval}_data/<export_dir>_<score>/
        anomaly_score_DCASE2023T2fan_section_00_test_seed13711_id(0_).csv     file name,score
        decision_result_DCASE2023T2fan_section_00_test_seed13711_id(0_).csv   file name,0|1
        result_DCASE2023T2fan_test_seed13711_id(0_)_roc.csv                   metrics per section
        job_DCASE2023T2fan_test_seed13711_id(0_).json                      what the test was (ours)
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asd.challenge.catalog import split_dataset_name
from asd.csvfiles import cells, number, parse_number, read_rows, refuse_lines, write_rows
from asd.errors import UserError
from asd.evaluation.metrics import (
    BoolArray,
    FloatArray,
    arithmetic_mean,
    auc,
    domain_metrics,
    harmonic_mean,
    partial_auc,
    precision_recall_f1,
)
from asd.scores.table import ScoreTable

_log = logging.getLogger(__name__)

TWO_DOMAIN_COLUMNS = (
    "AUC (source)", "AUC (target)", "pAUC", "pAUC (source)", "pAUC (target)",
    "precision (source)", "precision (target)", "recall (source)", "recall (target)",
    "F1 score (source)", "F1 score (target)",
)  # fmt: skip
ONE_DOMAIN_COLUMNS = ("AUC", "pAUC", "precision", "recall", "F1 score")
MEAN_ROWS = ("arithmetic mean", "harmonic mean")

_ENDING = r"_test_seed(?P<seed>[0-9]+)(?:_(?P<tag>.+?))??(?P<split>_Eval)?"
_SECTION_FILE = re.compile(
    r"(?P<kind>anomaly_score|decision_result)_(?P<dataset>[^_]+)_section_(?P<section>[0-9]{2})"
    rf"{_ENDING}\.csv"
)
_TABLE_FILE = re.compile(rf"(?P<kind>result)_(?P<dataset>[^_]+){_ENDING}_roc\.csv")


@dataclass(frozen=True)
class ResultName:
    """What the names of a model's result files say.

    Parameters
    ----------
    dataset
        Challenge year, "DCASE2023T2".
    machine
        Machine type.
    split
        "dev" or "eval".
    seed
    tag
        What tells models of one machine type apart, "id(0_)"; may be empty.
    """

    dataset: str
    machine: str
    split: str
    seed: int
    tag: str = ""

    def scores(self, section: str) -> str:
        """Name of the file of anomaly scores of a section ("00")."""
        return f"anomaly_score_{self._section(section)}.csv"

    def decisions(self, section: str) -> str:
        """Name of the file of decisions of a section ("00")."""
        return f"decision_result_{self._section(section)}.csv"

    def table(self) -> str:
        """Name of the file of metrics."""
        return f"result_{self.dataset}{self.machine}_{self._ending()}_roc.csv"

    def job(self) -> str:
        """Name of the record of the test."""
        return f"job_{self.dataset}{self.machine}_{self._ending()}.json"

    def _section(self, section: str) -> str:
        return f"{self.dataset}{self.machine}_section_{section}_{self._ending()}"

    def _ending(self) -> str:
        tag = f"_{self.tag}" if self.tag else ""
        return f"test_seed{self.seed}{tag}{'_Eval' if self.split == 'eval' else ''}"


@dataclass(frozen=True)
class ResultFile:
    """A result file's name taken apart.

    `kind` is "anomaly_score", "decision_result" or "result"; `section` is None for "result".
    """

    kind: str
    name: ResultName
    section: str | None


def parse_result_name(file_name: str) -> ResultFile | None:
    """Read the name of a result file; None if it is not one."""
    match = _SECTION_FILE.fullmatch(file_name) or _TABLE_FILE.fullmatch(file_name)
    if not match:
        return None
    words = match.groupdict()
    dataset, machine = split_dataset_name(words["dataset"])
    split = "eval" if words["split"] else "dev"
    name = ResultName(dataset, machine, split, int(words["seed"]), words["tag"] or "")
    return ResultFile(words["kind"], name, words.get("section"))


def score_folder(results: Path, split: str, export_dir: str, score: str) -> Path:
    """Folder of the result files of a score such as "MSE"."""
    return results / f"{split}_data" / f"{export_dir}_{score}"


def write_scores(path: Path, names: Sequence[str], scores: npt.ArrayLike) -> None:
    """Write anomaly scores, (clips,), each as the shortest text of its float64 value.

    The official systems score in float32: pass that array as it is to get the official digits.
    """
    values = np.asarray(scores, dtype=np.float64)
    write_rows(path, zip(names, values.tolist(), strict=True))


def write_decisions(path: Path, names: Sequence[str], decisions: npt.ArrayLike) -> None:
    """Write decisions, (clips,), 1 for anomalous."""
    write_rows(path, zip(names, np.asarray(decisions).astype(int).tolist(), strict=True))


def read_scores(path: Path, *, open_end: bool = False) -> tuple[list[str], FloatArray]:
    """File names and scores, or decisions, (clips,), in the order of the file.

    Parameters
    ----------
    path
    open_end
        Accept a last line without line end (other people's files).

    Raises
    ------
    UserError
        The file is missing or cut off, a line is not "file name,number", the number is not
        finite, or a name occurs twice; tells the line.
    """
    line_of: dict[str, int] = {}
    values, faults = [], []
    for line, row in read_rows(path, open_end=open_end):
        value = parse_number(row[1]) if len(row) == 2 else None
        if len(row) != 2 or not all(row):
            faults.append((line, f"expected 'file name,number', found {','.join(row)!r}"))
        elif value is None:
            faults.append((line, f"{row[1]!r} is not a finite number; write it again"))
        elif line_of.setdefault(row[0], line) != line:
            faults.append((line, f"{row[0]} stands in line {line_of[row[0]]} already; keep one"))
        values.append(value)
    refuse_lines(path, faults)
    return list(line_of), np.array(values, dtype=np.float64)


@dataclass(frozen=True)
class SectionScores:
    """The test clips of a section: arrays of shape (clips,); no decisions where none were made."""

    section: str
    scores: FloatArray
    is_anomaly: BoolArray
    is_target: BoolArray
    decisions: npt.NDArray[np.int_] | None = None

    def __post_init__(self) -> None:
        if self.is_anomaly.dtype != bool or self.is_target.dtype != bool:
            raise TypeError("is_anomaly and is_target must be boolean arrays")


def section_scores(
    table: ScoreTable, score: str, threshold: float | None = None
) -> list[SectionScores]:
    """The clips of each section with one of their scores, in order of the sections.

    Parameters
    ----------
    table
        Scores of clips of one machine type.
    threshold
        Clips above it are decided anomalous; None leaves decisions out.
    """
    found = []
    for section in sorted({clip.section for clip in table.clips}):
        own = table.select([i for i, clip in enumerate(table.clips) if clip.section == section])
        found.append(
            SectionScores(
                section,
                own[score],
                np.array([clip.is_anomaly for clip in own.clips]),
                np.array([clip.is_target for clip in own.clips]),
                decide(own[score], threshold),
            )
        )
    return found


def decide(scores: FloatArray, threshold: float | None) -> npt.NDArray[np.int_] | None:
    """1 for clips above a threshold, 0 for the others, shape (clips,); None without a threshold."""
    return None if threshold is None else (scores > threshold).astype(int)


@dataclass(frozen=True)
class ResultTable:
    """Metrics per section: `values` has shape (sections, columns), nan where undefined."""

    columns: tuple[str, ...]
    sections: tuple[str, ...]
    values: FloatArray

    def column(self, name: str) -> FloatArray:
        """The values of a column, (sections,)."""
        return self.values[:, self.columns.index(name)]


@dataclass(frozen=True)
class SectionMetrics:
    """Metrics of a section.

    Parameters
    ----------
    columns
        The official table's columns.
    official
        What the official score is made of, see `asd.evaluation.metrics.domain_metrics`.
    """

    columns: dict[str, float]
    official: dict[str, float]


def section_metrics(clips: SectionScores, two_domains: bool, max_fpr: float) -> SectionMetrics:
    """The official metrics of a section.

    AUC (source) and (target) take that domain's normal clips against all anomalies, pAUC all
    clips; pAUC, precision, recall and F1 score of a domain take its clips only. nan stands for
    what is undefined: a domain without clips, or clips of one class only, or no decisions.
    """
    mixed = domain_metrics(clips.scores, clips.is_anomaly, clips.is_target, max_fpr)
    if not two_domains:
        only = _one_domain(clips, np.ones_like(clips.is_target), max_fpr)
        only["AUC"] = auc(clips.is_anomaly, clips.scores)
        return SectionMetrics({name: only[name] for name in ONE_DOMAIN_COLUMNS}, mixed)
    found = {
        "AUC (source)": mixed["smix_auc"],
        "AUC (target)": mixed["tmix_auc"],
        "pAUC": mixed["mix_pauc"],
    }
    for domain, chosen in (("source", ~clips.is_target), ("target", clips.is_target)):
        for name, value in _one_domain(clips, chosen, max_fpr).items():
            found[f"{name} ({domain})"] = value
    return SectionMetrics({name: found[name] for name in TWO_DOMAIN_COLUMNS}, mixed)


def _one_domain(clips: SectionScores, chosen: BoolArray, max_fpr: float) -> dict[str, float]:
    truth = clips.is_anomaly[chosen]
    found = {"pAUC": partial_auc(truth, clips.scores[chosen], max_fpr)}
    if clips.decisions is None or truth.all() or not truth.any():
        return found | dict.fromkeys(("precision", "recall", "F1 score"), np.nan)
    decided = precision_recall_f1(truth, clips.decisions[chosen])
    return found | dict(zip(("precision", "recall", "F1 score"), decided, strict=True))


def has_two_domains(sections: Sequence[SectionScores]) -> bool:
    """Whether any section has clips of both domains."""
    return any(s.is_target.any() and not s.is_target.all() for s in sections)


def result_table(
    sections: Sequence[SectionScores], max_fpr: float = 0.1, label: str = ""
) -> tuple[ResultTable, dict[str, dict[str, float]]]:
    """The official metrics of all sections of a machine type.

    The columns are those of two domains if any section has clips of both, else those of one.
    Cells that are undefined are nan, with a logged line that says why; `label` names the machine
    type in it.

    Returns
    -------
    tuple
        The table; and by section what the official score is made of.
    """
    two_domains = has_two_domains(sections)
    columns = TWO_DOMAIN_COLUMNS if two_domains else ONE_DOMAIN_COLUMNS
    found = {clips.section: section_metrics(clips, two_domains, max_fpr) for clips in sections}
    for clips in sections:
        _tell_undefined(clips, found[clips.section].columns, two_domains, label)
    rows = [[found[clips.section].columns[name] for name in columns] for clips in sections]
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(columns))
    table = ResultTable(columns, tuple(s.section for s in sections), values)
    return table, {section: metrics.official for section, metrics in found.items()}


def _tell_undefined(
    clips: SectionScores, row: Mapping[str, float], two_domains: bool, label: str
) -> None:
    empty = [name for name, value in row.items() if np.isnan(value)]
    if clips.decisions is None:
        empty = [name for name in empty if name.startswith(("AUC", "pAUC"))]
    if empty:
        where = f"{label} section {clips.section}".strip()
        why = _why_undefined(clips, two_domains)
        _log.warning("%s: %s; left empty: %s", where, why, ", ".join(empty))


def _why_undefined(clips: SectionScores, two_domains: bool) -> str:
    """The groups of clips that a section lacks, in words."""
    if np.isnan(clips.scores).any():
        return f"{int(np.isnan(clips.scores).sum())} scores are not a number"
    if two_domains:
        domains = [("source ", ~clips.is_target), ("target ", clips.is_target)]
    else:
        domains = [("", np.ones_like(clips.is_target))]
    missing = [
        f"no {label} {domain}clips"
        for domain, chosen in domains
        for label, group in (("normal", ~clips.is_anomaly), ("anomalous", clips.is_anomaly))
        if not (chosen & group).any()
    ]
    return ", ".join(missing)


def write_result(path: Path, table: ResultTable) -> None:
    """Write a table of metrics with its two mean rows.

    Means are over the defined cells of a column; the harmonic one floors values at the machine
    epsilon. The file ends in an empty line, as the official one does.
    """
    columns = list(table.values.T)
    rows: list[list[str]] = [["section", *table.columns]]
    for section, values in zip(table.sections, table.values, strict=True):
        rows.append([section, *cells(values)])
    rows.append([MEAN_ROWS[0], *cells(arithmetic_mean(column) for column in columns)])
    rows.append([MEAN_ROWS[1], *cells(harmonic_mean(column) for column in columns)])
    write_rows(path, [*rows, []])


def read_result(path: Path) -> ResultTable:
    """Read a table of metrics; the mean rows are left out.

    Raises
    ------
    UserError
        The file is missing, cut off or of another form; tells the line.
    """
    header, *rows = read_rows(path)
    if header.cells[0] not in ("section", "id") or len(header.cells) < 2:
        raise UserError(f"{path}, line 1: expected 'section,AUC ...', found {header.cells[0]!r}")
    what = f"cells where the header has {len(header.cells)}; run the test step again"
    refuse_lines(
        path,
        [(line, f"{len(row)} {what}") for line, row in rows if len(row) != len(header.cells)],
    )
    if tuple(row.cells[0] for row in rows[-2:]) != MEAN_ROWS:
        line = rows[-1].line if rows else 1
        raise UserError(f"{path}, line {line}: the file is cut off here; run the test step again")
    kept = rows[:-2]
    values = [[number(text, path, line) for text in row[1:]] for line, row in kept]
    shape = (len(kept), len(header.cells) - 1)
    table = np.array(values, dtype=np.float64).reshape(shape)
    return ResultTable(tuple(header.cells[1:]), tuple(row.cells[0] for row in kept), table)
