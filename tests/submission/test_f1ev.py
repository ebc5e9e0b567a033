"""F1-EV: stored values of the authors' definition, and a slow version of our own."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from asd.errors import UserError
from asd.submission.f1ev import bounded_f1_ev, f1_ev

DATA = Path(__file__).parents[1] / "data" / "evaluation" / "metrics"
EXPECTED = json.loads((DATA / "f1ev_expected.json").read_text())


@pytest.mark.parametrize("case", EXPECTED)
def test_stored_values(case):
    with np.load(DATA / "f1ev_inputs.npz") as inputs:
        labels, scores = inputs[f"{case}_label"], inputs[f"{case}_scores"]
    found = {None: f1_ev(labels, scores)}
    expected = {None: EXPECTED[case]}
    for alpha, numbers in EXPECTED[case]["bounded"].items():
        found[alpha] = bounded_f1_ev(labels, scores, float(alpha))
        expected[alpha] = numbers
    for key, numbers in expected.items():
        assert found[key].value == pytest.approx(numbers["f1_ev"], abs=1e-12)
        assert found[key].max_f1 == pytest.approx(numbers["max_f1"], abs=1e-12)
        assert found[key].best_threshold == pytest.approx(numbers["best_threshold"], abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=30))
def test_slow_version(clips):
    labels, scores = (np.array(column) for column in zip(*clips, strict=True))
    thresholds = sorted(set(scores.tolist()))
    f1 = [f1_score(labels, scores > t, zero_division=0) for t in thresholds]
    found = f1_ev(labels, scores)
    assert found.max_f1 == pytest.approx(max(f1))
    assert found.best_threshold == thresholds[f1.index(max(f1))]
    if len(thresholds) > 1:
        area = sum((b - a) * f for a, b, f in zip(thresholds, thresholds[1:], f1, strict=False))
        assert found.value == pytest.approx(area / (thresholds[-1] - thresholds[0]))
    else:
        assert math.isnan(found.value)


def test_what_is_undefined():
    with pytest.raises(UserError, match="no score"):
        f1_ev([], [])
    with pytest.raises(UserError, match="no normal clip"):
        bounded_f1_ev([1, 1], [1.0, 2.0])
