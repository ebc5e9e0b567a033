"""Sieves, fine or coarse, must never cost a digit of the exact distances."""

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.backends import neighbours
from asd.backends.neighbours import Neighbours
from asd.backends.sieve import Sieve


@contextmanager
def sieve(coarse):
    """Choose the kind of sieve, whatever the processor; there is no coarse one on many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "fast_in_bfloat16", lambda: coarse)
        patch.setattr(neighbours, "MANY", 1)
        yield


def brute_force(rows, references, weights, k):
    squared = [
        [weight * np.sum((x - y) ** 2) for y, weight in zip(references, weights, strict=True)]
        for x in rows
    ]
    return np.sort(squared, axis=1)[:, :k]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([1e-7, 1e-3, 1.0, 1e6]),
    offset=st.sampled_from([0.0, 1.0, 1e4]),
    decades=st.sampled_from([0, 6]),
    k=st.sampled_from([1, 2, 8, 9, 20]),
    coarse=st.booleans(),
)
def test_near_far_and_weighted_distances_equal_brute_force(
    seed, spread, offset, decades, k, coarse
):
    rng = np.random.default_rng(seed)
    references = offset + spread * rng.normal(size=(20, 6))
    rows = np.concatenate(
        [
            offset + spread * rng.normal(size=(4, 6)),
            references[:2],  # copies
            references[:2] + 1e-9 * spread,  # nearly copies
            rng.normal(size=(1, 6)) * 1e3,  # far from all
        ]
    )
    weights = 10.0 ** rng.uniform(-decades, decades, size=20)
    with sieve(coarse):
        smallest = Neighbours(references, weights).smallest(rows, k)
    np.testing.assert_allclose(
        smallest, brute_force(rows, references, weights, k), rtol=1e-12, atol=0
    )


def test_copies_are_at_distance_zero_and_ties_are_kept():
    references = np.repeat(np.random.default_rng(0).normal(size=(1, 64)), 50, axis=0)
    smallest = Neighbours(references).smallest(np.vstack([references[0], -references[0]]), 20)
    np.testing.assert_array_equal(smallest[0], 0)
    np.testing.assert_allclose(smallest[1], 4 * references[0] @ references[0])


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_beyond_the_range_of_float32_distances_stay_exact(size, coarse):
    rng = np.random.default_rng(0)
    references = size * rng.normal(size=(9, 4))
    rows = np.vstack([size * rng.normal(size=(3, 4)), np.ones(4), np.full(4, 1e45)])
    weights = rng.uniform(1, 1e6, size=9)
    expected = brute_force(rows, references, weights, 3)
    with sieve(coarse):
        found = Neighbours(references, weights).smallest(rows, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10**6),
    dim=st.sampled_from([1, 3, 64, 700]),
    spread=st.sampled_from([1e-3, 1.0]),
    coarse=st.booleans(),
)
def test_bounds_are_never_above_the_limits_of_distances(seed, dim, spread, coarse):
    rng = np.random.default_rng(seed)
    references = 1 + spread * rng.normal(size=(40, dim))
    rows = np.vstack([1 + spread * rng.normal(size=(20, dim)), references[:20]])
    weights = 10.0 ** rng.uniform(-3, 3, size=40)
    own = Sieve(references, weights, coarse)
    distances = weights * np.square(rows[:, None] - references).sum(axis=2)
    assert np.all(own.bounds(rows) <= own.limits(distances))


@pytest.mark.parametrize(("coarse", "share"), [(False, 1.1), (True, 2.5)])
def test_the_sieve_leaves_few_pairs_to_compute(monkeypatch, coarse, share):
    pairs = []
    exact = Neighbours._exact
    monkeypatch.setattr(
        Neighbours, "_exact", lambda *args: pairs.append(len(args[2])) or exact(*args)
    )
    rng = np.random.default_rng(0)
    with sieve(coarse):
        Neighbours(rng.normal(size=(500, 64))).smallest(rng.normal(size=(200, 64)), 1)
    assert 200 <= sum(pairs) < share * 200


def test_where_references_crowd_together_the_fine_sieve_takes_over(monkeypatch):
    pairs = []
    exact = Neighbours._exact
    monkeypatch.setattr(
        Neighbours, "_exact", lambda *args: pairs.append(len(args[2])) or exact(*args)
    )
    rng = np.random.default_rng(0)
    references = np.vstack([rng.normal(size=(200, 8)), 5 + 0.1 * rng.normal(size=(200, 8))])
    rows = 5 + 0.1 * rng.normal(size=(50, 8))
    with sieve(coarse=True):
        smallest = Neighbours(references).smallest(rows, 1)
    np.testing.assert_allclose(smallest, brute_force(rows, references, np.ones(400), 1))
    assert sum(pairs) < 50 * 8


def test_pairs_in_several_slices_equal_one(monkeypatch):
    rng = np.random.default_rng(0)
    references, rows = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
    expected = Neighbours(references).smallest(rows, 9)
    monkeypatch.setattr(neighbours, "PAIRS_AT_ONCE", 5)
    np.testing.assert_array_equal(Neighbours(references).smallest(rows, 9), expected)
