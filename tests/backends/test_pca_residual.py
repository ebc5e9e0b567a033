"""The residual of principal components: by hand, and against scikit-learn."""

import numpy as np
import pytest

from asd.backends import make_backend


def fitted(rows, **parameters):
    backend = make_backend("pca_residual", {"metric": "euclidean", **parameters})
    backend.fit(rows, np.zeros(len(rows), bool))
    return backend


def test_the_distance_to_a_line():
    rows = np.array([[-2.0, 1], [-1, 1], [1, 1], [2, 1]])  # on a line, mean (0, 1)
    np.testing.assert_allclose(fitted(rows).score([[5.0, 1], [7, 4], [0, -1]]), [0, 3, 2])


@pytest.mark.parametrize(
    ("parameters", "count"), [({"components": 3}, 3), ({"variance": 0.6}, None), ({}, None)]
)
def test_scores_are_residuals_of_scikit_learns_components(parameters, count):
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    rows, query = rng.normal(size=(2, 50, 9)) * np.arange(1, 10)
    pca = PCA(count or parameters.get("variance", 0.95), svd_solver="full").fit(rows)
    left = query - pca.inverse_transform(pca.transform(query))
    expected = np.linalg.norm(left, axis=1)
    np.testing.assert_allclose(fitted(rows, **parameters).score(query), expected, rtol=1e-9)


def test_something_is_left_where_all_directions_are_asked_for():
    rows = np.random.default_rng(0).normal(size=(50, 4))
    assert fitted(rows, components=99).score(rows + 5).min() > 0


def test_clips_that_are_all_alike_leave_the_distance_to_them():
    np.testing.assert_allclose(fitted(np.ones((5, 2))).score([[1.0, 1], [4, 5]]), [0, 5])
