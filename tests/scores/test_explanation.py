import numpy as np
import pytest

from asd.scores.explanation import Explanation, Part


def explanation(values, **changes):
    values = np.asarray(values, dtype=float)
    times, bands = values.shape
    edges = {"times_s": np.arange(times + 1) / 10, "bands_hz": 100.0 * np.arange(bands + 1)}
    return Explanation("MSE", values, **{**edges, "adds_up": False, **changes})


def test_the_part_that_stands_out_is_found_with_its_edges():
    values = np.zeros((20, 10))
    values[5:8, 2:4] = 1.0
    assert explanation(values).parts() == [Part(0.5, 0.8, 200.0, 400.0)]


def test_parts_come_with_the_largest_sum_first_and_no_more_than_asked():
    values = np.zeros((20, 10))
    values[2, 2], values[5:8, 7], values[15, 0], values[18, 9] = 1.0, 0.9, 0.8, 0.7
    found = explanation(values).parts(most=3)
    assert [part.start_s for part in found] == pytest.approx([0.5, 0.2, 1.5])
    assert explanation(values).parts(most=1) == found[:1]


def test_what_is_usual_does_not_stand_out():
    """A band that is hard to reconstruct in every normal clip too is not the reason."""
    usual = np.zeros((20, 10))
    usual[:, 3] = 5.0
    values = usual.copy()
    values[10:12, 7] = 1.0
    (part,) = explanation(values, usual=usual).parts()
    assert (part.low_hz, part.high_hz) == (700, 800)
    assert explanation(usual, usual=usual).parts() == []
    assert explanation(-usual).parts() == []


def test_noise_is_averaged_over_neighbours_where_values_add_up():
    random = np.random.default_rng(0)
    values = random.chisquare(1, (300, 60))
    values[100:150, 30:36] += 3.0
    edges = {"times_s": np.arange(301) * 0.032, "usual": np.ones_like(values), "adds_up": True}
    found = explanation(values, **edges).parts(most=1)[0]
    assert (found.start_s, found.end_s) == pytest.approx((3.2, 4.8), abs=0.2)
    assert (found.low_hz, found.high_hz) == pytest.approx((3000, 3600), abs=200)


def test_points_are_looked_up_by_time_and_frequency():
    values = np.arange(6.0).reshape(3, 2)
    found = explanation(values).at(np.array([-1, 0.05, 0.25, 0.35]), np.array([50, 150, 250]))
    np.testing.assert_array_equal(found, [[0, 0, 0], [0, 1, 0], [4, 5, 0], [0, 0, 0]])


def test_bands_add_up_over_time():
    np.testing.assert_array_equal(explanation([[1, 2], [3, 4]]).by_band(), [4, 6])


def test_edges_must_fit_the_cells():
    with pytest.raises(ValueError, match=r"values of shape \(2, 2\) for edges of \(2, 3\) cells"):
        explanation(np.zeros((2, 2)), bands_hz=np.arange(4.0))
