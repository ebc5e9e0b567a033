"""The jackknife interval against one that really leaves every clip out."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from asd.submission.jackknife import ci95


def slow_ci95(labels: np.ndarray, scores: np.ndarray, **limit: float) -> float:
    n = len(labels)
    rest = [np.delete(np.arange(n), i) for i in range(n)]
    areas = np.array([roc_auc_score(labels[r], scores[r], **limit) for r in rest])
    sigma = math.sqrt(((areas - areas.mean()) ** 2).sum() / (n * (n - 1)))
    return float(scipy.stats.t.ppf(0.975, n - 1)) * sigma


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=6, max_size=40).filter(
        lambda clips: 1 < sum(label for label, _ in clips) < len(clips) - 1
    )
)
def test_equals_leaving_every_clip_out(clips):
    labels, scores = (np.array(column) for column in zip(*clips, strict=True))
    expected = (slow_ci95(labels, scores) + slow_ci95(labels, scores, max_fpr=0.1)) / 2
    assert ci95(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_one_clip_of_a_class_has_no_interval():
    assert math.isnan(ci95([0, 0, 0, 1], [1.0, 2.0, 3.0, 4.0]))
