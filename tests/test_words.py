"""Hints at the word that was meant; text that stays on its line."""

import logging
import pickle

import pytest

from asd.errors import UserError
from asd.logs import set_up_logging
from asd.run_parameters import RunParameters
from asd.schema.parameters import parameters_of
from asd.systems.registry import find_system
from asd.words import closest, nearest, nearest_flag, shown


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--epocs", "; did you mean --epochs?"),
        ("epoch", "; did you mean --epochs?"),
        ("--epoch_count", "; did you mean --epochs?"),
        ("--tag", "; did you mean -tag?"),
        ("--zzz", ""),
        ("--", ""),
    ],
)
def test_nearest_flag(word, hint):
    classes = RunParameters, find_system("ae").parameters_class()
    flags = [flag for cls in classes for each in parameters_of(cls) for flag in each.flags]
    assert nearest_flag(word, flags) == hint


def test_nearest_word():
    assert nearest("fna", ("valve", "fan")) == " (did you mean fan?)"
    assert nearest("12", (3, 123)) == " (did you mean 123?)"
    assert nearest("xyz", ("valve", "fan")) == ""
    assert nearest("toycar", ("Tortoise", "ToyCar")) == " (did you mean ToyCar?)"
    assert nearest("FAN", ("Fin", "fan")) == " (did you mean fan?)"


def test_how_near_it_must_be():
    assert closest("ab", ["xb"]) == "xb"
    assert closest("ab", ["xb"], cutoff=0.6) is None
    assert closest("ab", ["xyz"], cutoff=0.0) == "xyz"
    assert closest("ab", []) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b/ñ_日本.wav", "a b/ñ_日本.wav"),
        ("x\nasd: error: y", "x\\nasd: error: y"),
        ("\x1b[2J\r\u2028\u202e", r"\x1b[2J\r\u2028\u202e"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_shown_text_is_printable_and_on_one_line(text, expected):
    assert shown(text) == expected
    assert shown(shown(text)) == expected


def test_a_name_cannot_forge_an_error_line():
    error = UserError("x\nasd: error: y.wav: no such file")
    assert str(error) == r"x\nasd: error: y.wav: no such file"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


def test_a_name_cannot_forge_a_log_line(capsys):
    set_up_logging()
    logging.getLogger("asd.x").warning("%s: skipped", "a\nINFO: all is well")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("asd.x").exception("traceback follows")
    first, second, *trace = capsys.readouterr().err.splitlines()
    assert first == r"WARNING: a\nINFO: all is well: skipped"
    assert second == "ERROR: traceback follows"
    assert trace[0].startswith("Traceback")
    assert trace[-1] == "second"


def test_a_very_long_message_keeps_its_beginning_and_its_end():
    text = f"a.csv, line 3: '{'x' * 5000}' is no number; write it again"
    found = str(UserError(text))
    assert len(found) < 1500
    assert found.startswith("a.csv, line 3: 'xxx")
    assert found.endswith("x' is no number; write it again")
    assert str(UserError("x" * 1000)) == "x" * 1000
