"""Values from text, YAML and Python as the types of parameters say, with what was expected."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asd.run_parameters import RunParameters
from asd.schema.convert import base_of, choices_of, convert
from asd.schema.parameters import parameters_of
from asd.schema.values import (
    AtLeastOne,
    BatchSize,
    Channel,
    Count,
    Decay,
    FalsePositiveRate,
    FolderName,
    Fraction,
    NamePart,
    NonNegative,
    Positive,
    Range,
    Seed,
    Share,
    Width,
    Window,
)
from asd.systems.registry import SYSTEMS, find_system

Mode = Literal["mean", "frame"]
Method = Literal["CROSS-E", "FM"]
Methods = Annotated[tuple[Method, ...], AtLeastOne()]

GOOD = [
    (Count, "5", 5), (Count, "5.0", 5), (Count, "1e2", 100), (Count, 7, 7),
    (Positive, "1e-3", 0.001), (Positive, 1, 1.0),
    (Positive | None, "null", None), (Positive | None, "None", None), (Positive | None, "", None),
    (Positive | None, "8000", 8000.0), (Count | None, "512.0", 512), (Count | None, None, None),
    (bool, "true", True), (bool, "False", False), (bool, "1", True), (bool, "off", False),
    (bool, "full", True), (bool, "simple", True), (bool | None, "null", None),
    (bool | None, "False", False), (bool, True, True),
    (tuple[int, ...], ["0", "02"], (0, 2)), (tuple[int, ...], "0 1", (0, 1)),
    (tuple[int, ...], 3, (3,)), (tuple[int, ...], None, ()), (tuple[int, ...], 0, (0,)),
    (tuple[str, ...], "fan ToyCar", ("fan", "ToyCar")), (tuple[str, ...], ["fan"], ("fan",)),
    (tuple[str, ...], [], ()), (tuple[Method, ...], "fm cross-e", ("FM", "CROSS-E")),
    (tuple[int, float], "1 2", (1, 2.0)), (Methods, ["fm"], ("FM",)),
    (FolderName, "007", "007"), (FolderName, "..a", "..a"), (NamePart, None, ""),
    (Path | None, "", None), (Path, "a/b", Path("a/b")), (Path, Path("a/b"), Path("a/b")),
    (Seed, "4294967295", 2**32 - 1), (FalsePositiveRate, "1", 1.0), (Fraction, ".5", 0.5),
    (Mode, "frame", "frame"), (Mode, "Frame", "frame"), (Method, "cross-e", "CROSS-E"),
    (Channel, "left", "left"), (Channel, 3, "3"), (Width, 16, 16), (Window, "1024", 1024),
    (Literal["by_year"] | Positive, "by_year", "by_year"),
    (Literal["by_year"] | Positive, "2", 2.0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "expected"), GOOD)
def test_good_values(kind, given, expected):
    found = convert(kind, given)
    assert found == expected
    assert type(found) is type(expected)


BAD = [
    (Count, "0", "at least 1"), (Count, "1.5", "a whole number"), (Count, "x", "a whole number"),
    (Count, None, "a whole number"), (Count, ["1", "2"], "a whole number"),
    (Count, True, "a whole number"), (Count, "inf", "a whole number"),
    (Count, "nan", "a whole number"), (Count, "1e400", "a whole number"),
    (Count, "1_000", "a whole number"), (Count, "\u0663", "a whole number"),
    (Positive, "nan", "a number"), (Positive, "inf", "a number"),
    (Positive, "0", "a number above 0"), (Positive, "-1", "a number above 0"),
    (Positive, True, "a number"), (Positive | None, "0", "a number above 0"),
    (Positive | None, "half", "a number"), (NonNegative, "-1", "at least 0"),
    (Fraction, "1", "a number above 0 and below 1"),
    (Fraction, "0", "a number above 0 and below 1"),
    (Share, "1.1", "0 to 1"), (Decay, "1", "at least 0 and below 1"),
    (FalsePositiveRate, "0", "a number above 0 and at most 1"),
    (FalsePositiveRate, "1.01", "a number above 0 and at most 1"),
    (bool, "maybe", "True or False"), (bool, None, "True or False"), (bool, 2, "True or False"),
    (Channel, "middle", "left, right, mix, cancellation, subtraction or a number from 1"),
    (Channel, "0", "left, right, mix"),
    (Channel, "all", "left, right, mix"), (Mode, "", "one of mean, frame"),
    (Mode, "batch", "one of mean, frame"), (Mode, None, "one of mean, frame"),
    (Mode, ["mean"], "one of mean, frame"), (tuple[int, ...], ["0", "x"], "a whole number"),
    (tuple[int, ...], [[1]], "a whole number"), (tuple[int, int], "1", "2 values"),
    (tuple[Method, ...], "fm am", "one of CROSS-E, FM"), (Methods, "am", "one of CROSS-E, FM"),
    (Methods, [], "at least one value"), (Methods, None, "at least one value"),
    (Seed, "-1", "0 to 4294967295"), (Seed, "4294967296", "0 to 4294967295"),
    (BatchSize, "1", "at least 2"), (Window, "17", "at least 16 and a multiple of 2"),
    (Width, "12", "at least 8 and a multiple of 8"),
    (FolderName, "a/b", "a folder's name, without /"), (FolderName, "", "a folder's name"),
    (FolderName, "..", "a folder's name"), (FolderName, "a\0", "a folder's name"),
    (NamePart, "a/b", "a text without /"), (Path, "", "a path"), (Path, "a\0", "a path"),
    (str, ["a", "b"], "a text"), (str, {"a": 1}, "a text"),
    (Literal["by_year"] | Positive, "long", "by_year or a number"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "expected"), BAD)
def test_bad_values_tell_what_was_expected(kind, given, expected):
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        convert(kind, given)


@given(
    st.none() | st.floats(-4, 4), st.none() | st.floats(-4, 4), st.booleans(), st.booleans(),
    st.sampled_from([-4.0, -1.5, 0.0, 1.0, 4.0]) | st.floats(),
)  # fmt: skip
def test_a_range_holds_what_lies_between_its_limits(low, high, open_low, open_high, value):
    expected = value == value  # NaN lies nowhere
    if low is not None and expected:
        expected = value > low or (value == low and not open_low)
    if high is not None and expected:
        expected = value < high or (value == high and not open_high)
    if low is None and high is None:
        expected = True  # nothing is said
    assert Range(low, high, open_low, open_high).holds(value) == expected


KINDS = [
    each.kind
    for cls in (
        RunParameters,
        *(entry.parameters_class() for entry in SYSTEMS.values()),
        find_system("raw_spec").parameters_class(),
    )
    for each in parameters_of(cls)
]
SCALARS = st.text() | st.integers() | st.floats() | st.booleans() | st.none()


@given(st.sampled_from(KINDS), SCALARS | st.lists(SCALARS))
def test_anything_is_a_value_or_a_value_error(kind, given):
    try:
        value = convert(kind, given)
    except ValueError:
        return
    assert convert(kind, value) == value


def test_a_type_that_no_text_can_be_is_a_mistake_of_ours():
    with pytest.raises(TypeError, match="no value can be read as"):
        convert(bytes, "x")


def test_a_home_folder_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert convert(Path, "~/r") == Path("/home/someone/r")


def test_what_types_are_made_of():
    assert choices_of(Methods) == choices_of(tuple[Method, ...]) == ("CROSS-E", "FM")
    assert choices_of(Mode | None) == ("mean", "frame")
    assert choices_of(Count) == choices_of(Any) == ()
    assert base_of(tuple[Count, ...] | None) is int
    assert base_of(Annotated[float, Range(1)]) is float
    assert base_of(Mode) is str
