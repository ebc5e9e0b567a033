"""Strict reading of CSV files, and cells that a spreadsheet program would take for formulas."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.csvfiles import (
    CsvError,
    number,
    parse_number,
    parse_rows,
    read_rows,
    refuse_lines,
    write_rows,
)
from asd.errors import UserError

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), min_size=1, max_size=8)
ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=3), min_size=1, max_size=4)


@given(ROWS, st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, rows, spreadsheet):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    rows = [[f"a,{row[0]}", *row[1:]] for row in rows]  # no file of semicolons or tabs
    write_rows(path, rows, spreadsheet=spreadsheet)
    assert [row.cells for row in read_rows(path, spreadsheet=spreadsheet)] == rows


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+a", "-a", "@a", "'=a", "''@", "\t=a", "\r=a"])
def test_a_formula_is_written_as_text_and_read_back(tmp_path, text):
    path = tmp_path / "a.csv"
    write_rows(path, [["x", text]], spreadsheet=True)
    (row,) = read_rows(path)
    assert row.cells[1][0] == "'"
    assert read_rows(path, spreadsheet=True)[0].cells == ["x", text]


def test_numbers_and_quoted_words_are_no_formulas(tmp_path):
    cells = ["x", "-1.5", "+2e-3", "it's", "'tis", "a=b"]
    write_rows(tmp_path / "a.csv", [cells], spreadsheet=True)
    assert read_rows(tmp_path / "a.csv")[0].cells == cells


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_back(value):
    assert parse_number(repr(value)) == value


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "1_000", "٣", "nan", "inf", "-inf", "Infinity", "1e999", "0x10", "1,5",
     "1e", "e1", ".", "+", "--1", "1\n", "TRUE"],
)  # fmt: skip
def test_what_is_no_number(text, tmp_path):
    assert parse_number(text) is None
    if text:
        with pytest.raises(UserError, match=r"a\.csv, line 3: .* is not a number"):
            number(text, tmp_path / "a.csv", 3)


def test_an_empty_cell_is_nan(tmp_path):
    assert math.isnan(number("", tmp_path, 1))


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("a,1\n".encode("utf-16"), None, "is UTF-16 text; save it as UTF-8"),
        ("a,1\nb,2\n".encode("utf-16-be"), None, "is UTF-16 text; save it as UTF-8"),
        (b"a,1\n\0\0\0\0\n", 2, "holds NUL bytes"),
        (bytes(64), 1, "holds NUL bytes"),
        (b"a,1\nb\xe9,2\n", 2, "is not UTF-8 text"),
        (b"a;1\nb;2\n", None, "separated by semicolons"),
        (b"a;1,5\nb;2,25\n", None, "separated by semicolons"),
        (b"a\t1\n", None, "separated by tabs"),
        (b"", None, "the file is empty"),
        (b"\xef\xbb\xbf\n\n", None, "the file is empty"),
        (b"a,1\nb,2", 2, "the file is cut off here"),
        (b'a,1\n"b,2\n', 2, "not a CSV file"),
        (b'a,1\nb,"2"x\n', 2, "not a CSV file"),
    ],
)
def test_files_of_another_form(content, line, what):
    with pytest.raises(CsvError, match=what) as caught:
        parse_rows(content)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "content", [b"a;b.wav,1\n", b"a,1;2\n", b"fan\nx;1,y\n", b"a,1\r\nb,2\r\n", b"a,1\rb,2\r"]
)
def test_semicolons_in_names_and_other_line_ends_are_fine(content):
    assert parse_rows(content)


def test_a_byte_order_mark_is_taken_off_or_refused():
    content = b"\xef\xbb\xbfa,1\n"
    assert parse_rows(content)[0].cells == ["a", "1"]
    with pytest.raises(CsvError, match="begins with a byte-order mark"):
        parse_rows(content, may_have_mark=False)


def test_many_wrong_lines_are_told_in_one(tmp_path):
    with pytest.raises(UserError, match=r"a\.csv, line 2: bad \(and 998 more lines are wrong\)$"):
        refuse_lines(tmp_path / "a.csv", [(i, "bad") for i in range(2, 1001)])
    refuse_lines(tmp_path, [])


def test_a_name_that_is_not_utf_8_is_told(tmp_path):
    with pytest.raises(UserError, match=r"'x\\udce9\.wav,2' holds a name that is not UTF-8"):
        write_rows(tmp_path / "a.csv", [["a.wav", 1], ["x\udce9.wav", 2]])
    assert not list(tmp_path.iterdir())
