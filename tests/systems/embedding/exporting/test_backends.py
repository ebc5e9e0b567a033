"""Backends as modules against the backends themselves."""

import numpy as np
import pytest
import torch

from asd.backends import make_backend
from asd.errors import UserError
from asd.systems.embedding.exporting.backends import backend_module

BACKENDS = [
    ("knn", {}), ("knn", {"k_source": 3, "k_target": 2, "metric": "euclidean"}),
    ("knn", {"metric": "half_chord", "smote_ratio": 0.5}),
    ("kmeans", {"n_clusters": 3}), ("kmeans", {"n_clusters": 3, "unit_centres": False}),
    ("rescaled_knn", {}), ("rescaled_knn", {"form": "difference", "k": 2}),
    ("rescaled_knn", {"form": "varmin", "metric": "euclidean"}),
    ("rescaled_knn", {"form": "plain"}), ("rescaled_knn", {"form": "log_varmin", "k_density": 1}),
    ("rescaled_knn", {"decay": 0.9}),
    ("standardised_knn", {}), ("standardised_knn", {"k": 3, "metric": "euclidean"}),
    ("domain_scaled_knn", {}), ("domain_scaled_knn", {"by": "standard"}),
    ("mahalanobis", {}), ("mahalanobis", {"metric": "cosine"}),
    ("beam", {"bands": 4}), ("beam", {"bands": 2, "form": "varmin", "k": 2}),
    ("beam", {"bands": 2, "form": "log_varmin", "metric": "euclidean", "limit": 3.0}),
    ("mem_mixup", {}), ("mem_mixup", {"metric": "cosine", "share": 0.4, "k_target": 3}),
    ("mem_mixup", {"metric": "half_chord", "mixed": 2, "share": 0.4}),
    ("pca_residual", {}), ("pca_residual", {"metric": "euclidean", "components": 2}),
    ("z_min", {}), ("z_min", {"of": ("beam", "mem_mixup")}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "parameters"), BACKENDS)
@pytest.mark.parametrize("targets", [0, 6])
def test_backends_score_as_modules_what_they_score(kind, parameters, targets, rng):
    rows = rng.normal(size=(40, 8)) + 3
    backend = make_backend(kind, parameters)
    backend.fit(rows, np.arange(40) < targets)
    queries = np.vstack([rows[:3], rng.normal(size=(20, 8)) + 3]).astype(np.float32)
    found = backend_module(backend, "X")(torch.from_numpy(queries)).numpy()
    expected = backend.score(queries)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_means_far_off_cost_no_digits(rng):
    """Embeddings of an offset of 100 deviations."""
    rows = rng.normal(size=(40, 8)) + 100
    backend = make_backend("mahalanobis", {})
    backend.fit(rows, np.arange(40) < 6)
    queries = (rng.normal(size=(20, 8)) + 100).astype(np.float32)
    found = backend_module(backend, "X")(torch.from_numpy(queries)).numpy()
    np.testing.assert_allclose(found, backend.score(queries), rtol=1e-4)


def test_backends_that_cannot_be_exported_are_named(rng):
    backend = make_backend("gmm", {"n_components": 2})
    backend.fit(rng.normal(size=(40, 4)), np.zeros(40, dtype=bool))
    with pytest.raises(UserError, match="X: the backend Gmm cannot be exported"):
        backend_module(backend, "X")
    backend = make_backend("z_min", {"of": ("knn", "gmm")})
    backend.fit(rng.normal(size=(40, 4)), np.zeros(40, dtype=bool))
    with pytest.raises(UserError, match="X: the backend Gmm cannot be exported"):
        backend_module(backend, "X")
    backend = make_backend("knn", {"per_section": True})
    backend.fit(rng.normal(size=(40, 4)), np.zeros(40, dtype=bool), np.zeros(40, dtype=int))
    with pytest.raises(UserError, match="X: a backend with a reference set per section cannot"):
        backend_module(backend, "X")
