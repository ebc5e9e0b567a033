"""Hints at the word that was meant."""

import pytest

from asd.run_parameters import RunParameters
from asd.schema.parameters import parameters_of
from asd.systems.registry import find_system
from asd.words import closest, nearest, nearest_flag


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
