"""Mixtures in the target bank: published numbers and a version that makes them all."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.backends import make_backend, unit_rows

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "backends" / "bands.npz")


def mem_mixup(source, target, **parameters):
    backend = make_backend("mem_mixup", parameters)
    is_target = np.arange(len(source) + len(target)) >= len(source)
    backend.fit(np.concatenate([source, target]), is_target)
    return backend


@pytest.mark.parametrize("mixed", [0, 1, 3, 30])
@pytest.mark.parametrize("k", [1, 2])
def test_published_distances(mixed, k):
    source, target = GOLDEN["genrep/source"], GOLDEN["genrep/target"]
    backend = mem_mixup(source, target, mixed=mixed, k_source=k, k_target=k)
    found = backend.score(GOLDEN["genrep/query"])
    expected = np.minimum(
        GOLDEN[f"genrep/Ks{mixed}_k{k}_source_dist"], GOLDEN[f"genrep/Ks{mixed}_k{k}_target_dist"]
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    metric=st.sampled_from(["cosine", "half_chord", "euclidean"]),
    mixed=st.sampled_from([None, 0, 2]),
    k=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_scores_are_those_of_a_bank_with_all_mixtures(seed, metric, mixed, k, share):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(12, 4)), rng.normal(size=(4, 4)) + 2
    query = rng.normal(size=(7, 4)) + 1
    found = mem_mixup(
        source, target, metric=metric, mixed=mixed, share=share, k_source=2, k_target=k
    ).score(query)
    if metric != "euclidean":
        source, target, query = unit_rows(source), unit_rows(target), unit_rows(query)
    bank = list(target)
    for t in target:
        nearest = np.argsort(((source - t) ** 2).sum(axis=1))
        bank += [(1 - share) * t + share * source[s] for s in nearest[:mixed]]
    if metric != "euclidean":
        bank = [m / np.linalg.norm(m) for m in bank]

    def mean_distance(x, references, k):
        chords = np.array([np.linalg.norm(x - m) for m in references])
        values = {"cosine": chords**2 / 2, "half_chord": chords / 2, "euclidean": chords}[metric]
        return np.sort(values)[:k].mean()

    expected = [min(mean_distance(x, source, 2), mean_distance(x, bank, k)) for x in query]
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_copies_and_silence_give_finite_scores_and_zero_for_copies(metric):
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(12, 4)), rng.normal(size=(4, 4))
    source[:6], target[2:], source[7] = source[0], 0, 0
    backend = mem_mixup(source, target, metric=metric)
    np.testing.assert_allclose(backend.score(np.concatenate([source, target])), 0, atol=1e-12)
    assert np.isfinite(backend.score(rng.normal(size=(9, 4)))).all()
