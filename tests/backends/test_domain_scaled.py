"""Distances to either domain in that domain's own scale."""

from pathlib import Path

import numpy as np
import pytest

from asd.backends import make_backend

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "backends" / "normalised.npz")


def test_medians_of_the_domains_own_distances():
    ref, query = GOLDEN["bands/ref"].reshape(40, -1), GOLDEN["bands/query"].reshape(24, -1)
    backend = make_backend("domain_scaled_knn")
    backend.fit(ref, GOLDEN["bands/ref_is_target"])
    np.testing.assert_allclose(backend.score(query), GOLDEN["bands/bank_median"], rtol=1e-9)


@pytest.mark.parametrize(
    ("by", "expected"),
    # source distances 1, 1, 2 and 4: median 1.5, mean 2, deviation 1.22; target distances 10, 10
    [("median", [3 / 1.5, 5 / 10]), ("standard", [1 / np.sqrt(1.5), -5])],
)
def test_scales_by_hand(by, expected):
    rows = [[0.0], [1], [3], [7], [100], [110]]
    backend = make_backend("domain_scaled_knn", {"by": by, "metric": "euclidean"})
    backend.fit(rows, [False] * 4 + [True] * 2)
    if by == "standard":  # the target's deviation is 0: a millionth of the source's stands for it
        np.testing.assert_allclose(
            backend.score([[10.0], [105.0]]), [expected[0], -5 / (1e-6 * np.sqrt(1.5))]
        )
    else:
        np.testing.assert_allclose(backend.score([[10.0], [105.0]]), expected)


def test_a_domain_without_clips_plays_no_part():
    rows = [[0.0], [1], [3]]
    for is_target in ([False] * 3, [True] * 3):
        backend = make_backend("domain_scaled_knn", {"metric": "euclidean"})
        backend.fit(rows, is_target)
        np.testing.assert_allclose(backend.score([[5.0]]), [2])
