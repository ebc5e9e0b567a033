"""What a test was and found: the content of its job.json, from which tables are made again.

A record is written beside the result files of a model, machine type and score, as
job_<dataset><machine>_test_seed<seed>[_<tag>][_Eval].json. Nothing takes file names apart to find
results: these records say which they are.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asd.errors import UserError
from asd.evaluation.results import ResultName, ResultTable
from asd.files import write_json
from asd.words import is_plain_name

_FORMAT = 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SectionFiles:
    """Names of the files of a section's scores and decisions; "" where there are none."""

    scores: str
    decisions: str = ""


@dataclass(frozen=True)
class TestRecord:
    """A test of one model on one machine type, with one score.

    Parameters
    ----------
    dataset, machine, split, seed, tag
        As in `asd.evaluation.results.ResultName`.
    system
        Name of the system.
    export_dir, score
        What the folder is named by.
    variant
        What the tag says besides sections, "" for most.
    sections
        Sections that the model was trained for; none for all.
    max_fpr
        False positive rate up to which pAUC was taken.
    quantile, threshold
        Of normal scores, and the score above which clips were decided anomalous; None where no
        decisions were made.
    files
        By section.
    table
        Metrics of the sections; None where clips are not labelled.
    official
        Section -> what the year's official score is made of; empty where clips are not labelled.
    """

    dataset: str
    machine: str
    split: str
    seed: int
    tag: str
    system: str
    export_dir: str
    score: str
    variant: str
    sections: tuple[str, ...]
    max_fpr: float
    quantile: float | None
    threshold: float | None
    files: Mapping[str, SectionFiles]
    table: ResultTable | None = None
    official: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    __test__ = False  # not a test, whatever pytest makes of the name

    @property
    def name(self) -> ResultName:
        """What the names of the result files say."""
        return ResultName(self.dataset, self.machine, self.split, self.seed, self.tag)


def write_record(folder: Path, record: TestRecord) -> Path:
    """Write a record beside its result files, and return its path.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    path = folder / record.name.job()
    content = asdict(record)
    if record.table is not None:
        content["table"]["values"] = [list(map(_cell, row)) for row in record.table.values.tolist()]
    content["official"] = {
        section: {key: _cell(value) for key, value in found.items()}
        for section, found in record.official.items()
    }
    threshold = record.threshold
    content["threshold"] = None if threshold is None else _cell(threshold)
    write_json(path, {"format": _FORMAT, **content})
    return path


def read_record(path: Path) -> TestRecord:
    """Read a record.

    Raises
    ------
    UserError
        The file cannot be read or is no record.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError("another version")
        record = _record(content)
        _check(record)
        return record
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: is no record of a test ({type(error).__name__}: {error}); delete it and run "
            "the test again"
        ) from None


def read_records(results: Path, split: str) -> Iterator[tuple[Path, TestRecord]]:
    """The records of all systems below a result folder, by folder and name.

    A damaged one is left out, with a logged line: it says nothing of what it was, so it must not
    stop what the others, of any year, are read for.
    """
    for path in sorted((results / f"{split}_data").glob("*/job_*.json")):
        try:
            record = read_record(path)
        except UserError as error:
            _log.warning("%s; its results are left out", error)
        else:
            yield path, record


def _record(content: dict[str, Any]) -> TestRecord:
    table = content.pop("table")
    files = {section: SectionFiles(**found) for section, found in content.pop("files").items()}
    official = {
        section: {key: _number(value) for key, value in found.items()}
        for section, found in content.pop("official").items()
    }
    threshold = content.pop("threshold")
    return TestRecord(
        **{**content, "sections": _texts(content["sections"])},
        threshold=None if threshold is None else _number(threshold),
        files=files,
        table=None if table is None else _table(table),
        official=official,
    )


def _table(content: Mapping[str, Any]) -> ResultTable:
    columns, sections = _texts(content["columns"]), _texts(content["sections"])
    values = [[_number(value) for value in row] for row in content["values"]]
    shape = len(sections), len(columns)
    return ResultTable(columns, sections, np.array(values, dtype=np.float64).reshape(shape))


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is no list of texts")
    return tuple(values)


def _check(record: TestRecord) -> None:
    """Refuse what JSON can hold but no record does; folders and files are named by these texts."""
    for name in ("dataset", "machine", "system", "export_dir", "score", "tag", "variant"):
        value = getattr(record, name)
        if not isinstance(value, str) or not (value.isprintable() or name == "system"):
            raise TypeError(f"{name} is {value!r}")
    if record.split not in ("dev", "eval"):
        raise ValueError(f"split is {record.split!r}")
    numbers = {"seed": record.seed, "max_fpr": record.max_fpr, "quantile": record.quantile}
    for name, value in numbers.items():
        kinds = (int,) if name == "seed" else (int, float)
        if type(value) not in kinds and not (name == "quantile" and value is None):
            raise TypeError(f"{name} is {value!r}")
    for files in record.files.values():
        for file in (files.scores, files.decisions):
            if not isinstance(file, str) or (file and not is_plain_name(file)):
                raise TypeError(f"{file!r} is no file's name")


def _cell(value: float) -> float | None:
    """A number as JSON holds it: null where it is undefined."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
