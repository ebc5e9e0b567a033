"""CSV files in the official text form: plain commas, Unix line ends, shortest floats."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from asd.errors import UserError
from asd.files import write_text


class Row(NamedTuple):
    """A line of a CSV file: its number (from 1) and its cells."""

    line: int
    cells: list[str]


def read_rows(path: Path, *, open_end: bool = False) -> list[Row]:
    """All lines of a CSV file but the empty ones.

    Parameters
    ----------
    path
    open_end
        Accept a last line without line end. Files of this package end in one, so there it tells
        of a file that was cut off.

    Raises
    ------
    UserError
        The file cannot be read, is no text, has no line, or is cut off.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [Row(reader.line_num, cells) for cells in reader if cells]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the step that writes it") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file ({error}); write it again") from None
    if not rows:
        raise UserError(f"{path}: the file is empty; write it again")
    if not open_end and not text.endswith("\n"):
        raise UserError(f"{path}, line {rows[-1].line}: the file is cut off here; write it again")
    return rows


def write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write lines of cells, quoting cells that hold a comma; an empty row gives an empty line.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def cell(value: float) -> str:
    """A number as the shortest text that reads back the same; "" for nan."""
    return "" if math.isnan(value) else repr(float(value))


def cells(values: Iterable[float]) -> list[str]:
    """Numbers as text."""
    return [cell(value) for value in values]


def number(text: str, path: Path, line: int) -> float:
    """The number in a cell, nan if the cell is empty.

    Raises
    ------
    UserError
        The cell holds something else.
    """
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise UserError(f"{path}, line {line}: {text!r} is not a number; write it again") from None
