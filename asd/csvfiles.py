"""CSV files in the official text form: plain commas, Unix line ends, shortest floats.

All reading is strict: UTF-8, commas, whole lines, ASCII decimal numbers. What a spreadsheet
program makes of a file otherwise (UTF-16, semicolons, `1_000`) is refused in one line.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from asd.errors import UserError
from asd.files import write_text

_MARK = "\ufeff"  # byte-order mark
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LIST_COMMA = re.compile(r"(?<!\d),|,(?!\d)")  # one that is no decimal comma
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


class Row(NamedTuple):
    """A line of a CSV file: its number (from 1) and its cells."""

    line: int
    cells: list[str]


class CsvError(ValueError):
    """What is wrong with a CSV file, and in which line (None: in the file as a whole)."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


# --- reading --------------------------------------------------------------------------------------


def read_rows(path: Path, *, open_end: bool = False, spreadsheet: bool = False) -> list[Row]:
    """All lines of a CSV file but the empty ones.

    Parameters
    ----------
    path
    open_end
        Accept a last line without line end. Files of this package end in one, so there it tells
        of a file that was cut off.
    spreadsheet
        The file was written with `spreadsheet`: take the marks before formulas off again.

    Raises
    ------
    UserError
        The file cannot be read, is not such a file, or is cut off.
    """
    try:
        rows = parse_rows(path.read_bytes(), open_end=open_end)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the step that writes it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except CsvError as error:
        where = f", line {error.line}" if error.line else ""
        raise UserError(f"{path}{where}: {error.what}") from None
    if spreadsheet:
        rows = [Row(line, [_without_mark(text) for text in cells]) for line, cells in rows]
    return rows


def parse_rows(content: bytes, *, open_end: bool = False, may_have_mark: bool = True) -> list[Row]:
    """As `read_rows`, of a file's content; `may_have_mark` is about a byte-order mark.

    Raises
    ------
    CsvError
        The content is not such a file.
    """
    text = _decode(content)
    if text.startswith(_MARK):
        if not may_have_mark:
            raise CsvError("begins with a byte-order mark; save it as UTF-8 without one")
        text = text[1:]
    if not text.strip():
        raise CsvError("the file is empty; write it again")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [Row(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise CsvError(f"not a CSV file ({error}); write it again", reader.line_num) from None
    if separator := _other_separator(text):
        raise CsvError(f"its cells are separated by {separator}; save it with commas")
    if not open_end and not text.endswith(("\n", "\r")):
        raise CsvError("the file is cut off here; write it again", rows[-1].line)
    return rows


def _decode(content: bytes) -> str:
    """The text of a file; tells what else than UTF-8 it seems to be."""
    halves = content[::2].count(0), content[1::2].count(0)
    one_half = min(halves) == 0 < max(halves) == len(content) // 2
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or one_half:
        raise CsvError("is UTF-16 text; save it as UTF-8")
    if 0 in content:
        line = content[: content.index(0)].count(b"\n") + 1
        raise CsvError("holds NUL bytes, it is damaged; write it again", line)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise CsvError("is not UTF-8 text; save it as UTF-8", line) from None


def _other_separator(text: str) -> str:
    """What stands where commas should, "" if they do: commas are then decimal ones, or none."""
    lines = [line for line in text.splitlines() if line.strip()]
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        parts = [line.partition(separator) for line in lines]
        if all(
            sign and "," not in head and not _LIST_COMMA.search(tail) for head, sign, tail in parts
        ):
            return name
    return ""


def refuse_lines(path: Path, faults: Sequence[tuple[int, str]]) -> None:
    """Refuse a file for its wrong lines, if there are any: (number, what is wrong) of each.

    Raises
    ------
    UserError
        Tells the first, and how many more there are.
    """
    if faults:
        line, what = faults[0]
        more = f" (and {len(faults) - 1} more lines are wrong)" if len(faults) > 1 else ""
        raise UserError(f"{path}, line {line}: {what}{more}")


def parse_number(text: str) -> float | None:
    """The number that a text is, or None: a finite decimal float in ASCII, without blanks."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def number(text: str, path: Path, line: int) -> float:
    """The number in a cell, nan if the cell is empty.

    Raises
    ------
    UserError
        The cell holds something else.
    """
    value = parse_number(text) if text else math.nan
    if value is None:
        raise UserError(f"{path}, line {line}: {text!r} is not a number; write it again")
    return value


# --- writing --------------------------------------------------------------------------------------


def write_rows(path: Path, rows: Iterable[Sequence[object]], *, spreadsheet: bool = False) -> None:
    """Write lines of cells, quoting cells that hold a comma; an empty row gives an empty line.

    Parameters
    ----------
    path
    rows
    spreadsheet
        The file is for spreadsheet programs too: a cell that they would take for a formula gets
        a "'" in front, which `read_rows` takes off again.

    Raises
    ------
    UserError
        The folder cannot be written to, or a cell is a file name that is not UTF-8.
    """
    text = io.StringIO()
    usual = csv.writer(text, lineterminator="\n")
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [_with_mark(str(value)) for value in row] if spreadsheet else list(map(str, row))
        # Python before 3.13 leaves a lone carriage return unquoted, where it would end the line.
        (quoting if any("\r" in cell for cell in cells) else usual).writerow(cells)
    try:
        write_text(path, text.getvalue())
    except UnicodeEncodeError as error:
        before, after = error.object[: error.start], error.object[error.start :]
        line = before.rpartition("\n")[2] + after.partition("\n")[0]
        raise UserError(f"{path}: {line!r} holds a name that is not UTF-8; rename it") from None


def _with_mark(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) and parse_number(text) is None else text


def _without_mark(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def cell(value: float) -> str:
    """A number as the shortest text that reads back the same; "" for nan."""
    return "" if math.isnan(value) else repr(float(value))


def cells(values: Iterable[float]) -> list[str]:
    """Numbers as text."""
    return [cell(value) for value in values]
