"""Gaussian mixtures: likelihood as a score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough
from asd.errors import UserError
from asd.schema.values import Count, NonNegative

if TYPE_CHECKING:  # scikit-learn takes most of a second to import, and only fitting needs it
    from sklearn.mixture import GaussianMixture


@dataclass(kw_only=True)
class Gmm(Backend):
    """Minus the log-likelihood under a Gaussian mixture of all training clips.

    One mixture serves both domains: ten target clips cannot carry one of their own, and become a
    component where they lie apart.

    Parameters
    ----------
    metric
        "euclidean": embeddings as they are; "cosine": embeddings of unit length.
    n_components
        Gaussians in the mixture.
    covariance
        "diag" or "full"; "full" needs many more clips than dimensions.
    reg_covar
        Added to variances, in squared units of the embeddings.
    """

    metric: Literal["cosine", "euclidean"] = "euclidean"
    n_components: Count = 2
    covariance: Literal["diag", "full"] = "diag"
    reg_covar: NonNegative = 1e-6

    array_names = ("means", "log_weights", "whitenings")

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:  # noqa: ARG002
        """Means (components, dim), log weights, and roots of the inverse covariances.

        The roots have shape (components, dim) if diagonal, (components, dim, dim) if full.
        """
        check_enough("training", len(rows), "n_components", max(self.n_components, 2))
        mixture = fit_mixture(rows, self.n_components, self.covariance, reg_covar=self.reg_covar)
        return {
            "means": mixture.means_,
            "log_weights": np.log(mixture.weights_),
            "whitenings": mixture.precisions_cholesky_,
        }

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Scores in nats."""
        parts = list(zip(arrays["log_weights"], arrays["means"], arrays["whitenings"], strict=True))

        def scores(rows: Array) -> Array:
            joint = [weight + log_density(rows, mean, root) for weight, mean, root in parts]
            surprise: Array = -np.logaddexp.reduce(joint)
            return surprise

        return scores


def log_density(rows: Array, mean: Array, whitening: Array) -> Array:
    """Logarithm of a Gaussian's density at each row, shape (n,).

    Parameters
    ----------
    rows
        Shape (n, dim).
    mean
        Shape (dim,).
    whitening
        W with W Wᵀ the inverse covariance, triangular (dim, dim), or its diagonal (dim,).
    """
    if whitening.ndim == 1:
        white, diagonal = (rows - mean) * whitening, whitening
    else:
        white, diagonal = (rows - mean) @ whitening, np.diag(whitening)
    constant = np.log(diagonal).sum() - len(mean) * np.log(2 * np.pi) / 2
    density: Array = constant - np.square(white).sum(axis=1) / 2
    return density


def fit_mixture(
    rows: Array,
    n_components: int,
    covariance: str = "full",
    *,
    reg_covar: float = 1e-6,
) -> "GaussianMixture":
    """scikit-learn's mixture, fitted to rows of shape (clips, dim)."""
    from sklearn.mixture import GaussianMixture

    try:
        return GaussianMixture(
            n_components, covariance_type=covariance, reg_covar=reg_covar, random_state=0
        ).fit(rows)
    except ValueError as error:
        raise UserError(
            f"no Gaussian mixture of {n_components} {covariance} components fits {len(rows)} "
            "clips; raise reg_covar or lower n_components"
        ) from error
