"""Clusters of embeddings, against the public program's choices."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from asd.systems.embedding.maps import principal_map
from asd.systems.embedding.partitions import (
    agglomerate,
    by_first_appearance,
    choose_mixture,
    k_means,
)

PACK = Path(__file__).resolve().parents[4] / "shared" / "golden" / "components"
needs_pack = pytest.mark.skipif(
    not PACK.is_dir(), reason="the numbers of the public program are not here"
)


@needs_pack
@pytest.mark.parametrize("criterion", ["bic", "aic"])
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("source_separated", 8), ("source_overlap", 8), ("source_single", 6), ("target10", 2),
        ("target10_far", 2),
    ],
)  # fmt: skip
def test_number_of_components_and_scores_equal_the_published(name, most, criterion):
    golden = np.load(PACK / "gmm" / f"{name}.npz")
    found = choose_mixture(golden["Z"], most, criterion)
    assert found.components == int(golden[f"{criterion}_n"])
    assert adjusted_rand_score(found.numbers, golden[f"{criterion}_labels"]) == 1
    mean = golden[f"{criterion}_mean_test_score"][:most]
    np.testing.assert_allclose(found.scores, mean, rtol=1e-4)


@needs_pack
@pytest.mark.parametrize("criterion", ["bic", "aic"])
def test_sorted_embeddings_have_fewer_components_than_shuffled_ones(criterion):
    """Contiguous folds hold whole groups out where embeddings are sorted."""
    golden = np.load(PACK / "unlabelled" / "gmm_choice.npz")
    for order in ("given", "sorted"):
        found = choose_mixture(golden[f"clear_{order}_Z"], 6, criterion)
        assert found.components == int(golden[f"clear_{order}_{criterion}_n"])
        published = golden[f"clear_{order}_{criterion}_label"]
        assert adjusted_rand_score(found.numbers, published) == 1


@pytest.mark.parametrize("clips", [1, 2, 3, 7])
def test_few_or_equal_embeddings_give_few_clusters(clips):
    equal = np.ones((clips, 2))
    different = np.arange(2.0 * clips).reshape(clips, 2)
    assert choose_mixture(equal, 16).numbers.tolist() == [0] * clips
    assert k_means(equal, 16, seed=0).tolist() == [0] * clips
    assert agglomerate(equal, 16).tolist() == [0] * clips
    assert choose_mixture(different, 16).components <= clips
    assert len(set(agglomerate(different, 16).tolist())) == clips


def test_agglomeration_finds_groups_far_apart():
    rng = np.random.default_rng(0)
    groups = np.arange(30) % 3
    rows = 10 * np.eye(3)[groups] + rng.normal(size=(30, 3))
    assert agglomerate(rows, 3).tolist() == groups.tolist()


def test_clusters_are_numbered_by_their_first_embedding():
    assert by_first_appearance([7, 2, 7, 0, 2]).tolist() == [0, 1, 0, 2, 1]


def test_principal_axes_keep_distances_and_fill_up_with_zeros():
    rows = np.random.default_rng(0).normal(size=(4, 3))
    places = principal_map(rows, 5)
    assert places.shape == (4, 5)
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.testing.assert_allclose(np.linalg.norm(places[:, None] - places, axis=2), apart, atol=1e-9)
