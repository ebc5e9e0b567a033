"""Distances to the nearest references against brute force, however they lie."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.backends import BACKENDS, neighbours
from asd.backends.base import BLOCK_ROWS
from asd.backends.neighbours import Neighbours, nearest_others


def brute_force(rows, references, scale, offset, k):
    values = [
        [s * np.sqrt(np.sum((x - y) ** 2)) - o for y, s, o in zip(references, scale, offset)]  # noqa: B905
        for x in rows
    ]
    return np.sort(values, axis=1)[:, :k]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([1e-7, 1e-3, 1.0, 1e6]),
    origin=st.sampled_from([0.0, 1.0, 1e4]),
    decades=st.sampled_from([None, 0, 3]),
    k=st.sampled_from([1, 2, 8, 20]),
)
def test_near_far_and_scaled_distances_equal_brute_force(seed, spread, origin, decades, k):
    rng = np.random.default_rng(seed)
    references = origin + spread * rng.normal(size=(20, 6))
    rows = np.concatenate(
        [
            origin + spread * rng.normal(size=(4, 6)),
            references[:2],  # copies
            references[:2] + 1e-5 * spread,  # nearly copies
            rng.normal(size=(1, 6)) * 1e3,  # far from all
        ]
    )
    scale, offset, given_to = np.ones(20), np.zeros(20), {}
    if decades is not None:
        scale = 10.0 ** rng.uniform(-decades, decades, size=20)
        offset = spread * rng.uniform(size=20)
        given_to = {"scale": scale, "offset": offset}
    smallest = Neighbours(references, "euclidean", **given_to).smallest(rows, k)
    expected = brute_force(rows, references, scale, offset, k)
    # what the matrix product cannot tell apart, far rows against all references most of all
    blur = 1e-7 * np.abs(rows - references.mean(axis=0)).max(axis=1, keepdims=True) * scale.max()
    assert (np.abs(smallest - expected) <= blur + 1e-12).all()
    if decades is None:
        np.testing.assert_allclose(smallest, expected, rtol=1e-9)


def test_copies_are_at_distance_zero_and_ties_are_kept():
    references = np.repeat(np.random.default_rng(0).normal(size=(1, 64)), 50, axis=0)
    smallest = Neighbours(references, "euclidean").smallest(
        np.vstack([references[0], -references[0]]), 20
    )
    np.testing.assert_array_equal(smallest[0], 0)
    np.testing.assert_allclose(smallest[1], 2 * np.sqrt(references[0] @ references[0]))


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_very_small_and_very_large_embeddings_keep_their_digits(size):
    rng = np.random.default_rng(0)
    references = size * rng.normal(size=(9, 4))
    rows = np.vstack([size * rng.normal(size=(3, 4)), np.full(4, 1e38)])
    found = Neighbours(references, "euclidean").smallest(rows, 3)
    expected = brute_force(rows, references, np.ones(9), np.zeros(9), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_nearest_are_named_in_the_order_of_their_distances():
    references = np.array([[5.0], [1.0], [2.0], [-4.0]])
    indices, distances = Neighbours(references, "euclidean").nearest(np.array([[0.0], [3.0]]), 3)
    np.testing.assert_array_equal(indices, [[1, 2, 3], [2, 0, 1]])
    np.testing.assert_array_equal(distances, [[1, 2, 4], [1, 2, 2]])


@pytest.mark.parametrize(
    ("metric", "expected"), [("euclidean", [3, 4]), ("half_chord", [1.5, 2]), ("cosine", [4.5, 8])]
)
def test_a_row_is_not_among_its_nearest_others(metric, expected):
    rows = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    indices, distances = nearest_others(rows, 2, metric)
    np.testing.assert_array_equal(indices[0], [1, 2])
    np.testing.assert_array_equal(distances[0], expected)
    assert not any(i in row for i, row in enumerate(indices))


def test_rows_in_several_slices_equal_one(monkeypatch):
    rng = np.random.default_rng(0)
    references, rows = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
    expected = Neighbours(references, "euclidean").smallest(rows, 9)
    monkeypatch.setattr(neighbours, "ROWS_AT_ONCE", 3)
    np.testing.assert_array_equal(Neighbours(references, "euclidean").smallest(rows, 9), expected)


@pytest.mark.parametrize("kind", ["knn", "rescaled_knn"])
def test_memory_does_not_grow_with_the_number_of_clips_to_score(kind):
    rng = np.random.default_rng(0)
    backend = BACKENDS[kind]()
    backend.fit(rng.normal(size=(2000, 64)), np.zeros(2000, bool))
    clips = rng.normal(size=(3000, 64))
    tracemalloc.start()
    backend.score(clips)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * BLOCK_ROWS * 2000 * 8 + 4 * 2000 * 64 * 8  # all distances are 48 MB
