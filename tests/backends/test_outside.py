"""A backend in a user's own file: ten lines, checked and stored like those of the package."""

import importlib.util
import sys

import numpy as np
import pytest

from asd.backends import make_backend
from asd.errors import UserError
from asd.schema.node import Node

OWN = """
from dataclasses import dataclass
from asd.backends import Backend
from asd.schema.values import Positive

@dataclass(kw_only=True)
class Centre(Backend):
    power: Positive = 2.0
    def learn(self, rows, is_target):
        return {"centre": rows[~is_target].mean(axis=0)}
    def scorer(self, arrays):
        return lambda rows: (abs(rows - arrays["centre"]) ** self.power).sum(axis=1)
"""
ROWS = np.array([[0.0, 2], [2, 0], [9, 9]], dtype=np.float32)
IS_TARGET = np.array([False, False, True])


@pytest.fixture(params=["", "from __future__ import annotations\n"])
def own(request, load):
    """The class `Centre` of a file outside the package."""
    return load(request.param + OWN).Centre


@pytest.fixture
def load(tmp_path, monkeypatch):
    def module_of(text):
        path = tmp_path / "my_backends.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("my_backends", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "my_backends", module)
        spec.loader.exec_module(module)
        return module

    return module_of


def test_it_learns_scores_and_is_stored(own):
    backend = make_backend(own, {"metric": "euclidean", "power": 1.0})
    backend.fit(ROWS, IS_TARGET)
    np.testing.assert_array_equal(backend.score([[1, 1], [4, 1]]), [0, 3])
    again = make_backend(own, {"metric": "euclidean", "power": 1.0})
    again.load_state(backend.state())
    np.testing.assert_array_equal(again.score(ROWS), backend.score(ROWS))


def test_it_has_unit_rows_and_separate_sections_for_nothing(own):
    backend = make_backend(own, {"per_section": True})
    backend.fit(ROWS, IS_TARGET, [0, 1, 1])
    assert backend.score([[0, 5]], [0]) == [0]
    assert backend.score([[0, 5]], [1]) == [2]


def test_its_parameters_are_checked_by_their_types(own):
    with pytest.raises(UserError, match=r"^backend Centre: power is 0, must be a number above 0$"):
        make_backend(own, {"power": 0})
    with pytest.raises(UserError, match=r"backend Centre: unknown key 'powr', did you mean 'power"):
        make_backend(own, {"powr": 1})
    entries = Node.parse("my.yaml", "{power: 3, metric: cosine}").items()
    assert Node.parse("my.yaml", "").read_arguments(own, entries) == {
        "power": 3.0,
        "metric": "cosine",
    }


def test_scores_of_a_wrong_shape_are_refused(load):
    backend = make_backend(load(OWN.replace(".sum(axis=1)", "")).Centre)
    backend.fit(ROWS, IS_TARGET)
    with pytest.raises(UserError, match=r"Centre: .* shape \(3, 2\) for 3 embeddings; return one"):
        backend.score(ROWS)
