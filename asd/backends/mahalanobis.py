"""Mahalanobis distance to the mean of either domain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough
from asd.errors import UserError
from asd.schema.values import Share


@dataclass(kw_only=True)
class Mahalanobis(Backend):
    """Squared Mahalanobis distance to the nearer of the source mean and the target mean.

    Both domains share one covariance, that of the clips about the mean of their domain (K. Lee et
    al., "A simple unified framework for detecting out-of-distribution samples and adversarial
    attacks", NeurIPS 2018), because a target domain of ten clips has none of its own. Without
    target clips the source mean stands alone; without source clips, the target mean.

    Parameters
    ----------
    metric
        "euclidean": embeddings as they are; "cosine": embeddings of unit length.
    shrinkage
        Share, from 0 to 1, of the mean variance times the identity in the covariance. None: the
        share that Ledoit and Wolf (2004) estimate from the clips. 0 needs more clips than
        dimensions.
    """

    metric: Literal["cosine", "euclidean"] = "euclidean"
    shrinkage: Share | None = None

    array_names = ("means", "whitening")

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        """Means (domains, dim), and W (dim, dim) with W Wᵀ the inverse covariance."""
        check_enough("training", len(rows), "the covariance", 2)
        domains = [chosen for chosen in (~is_target, is_target) if chosen.any()]
        means = np.stack([rows[chosen].mean(axis=0) for chosen in domains])
        centred = rows.copy()
        for chosen, mean in zip(domains, means, strict=True):
            centred[chosen] -= mean
        return {"means": means, "whitening": whitening(self._covariance(centred))}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Squared distances, in variances."""
        whiten = arrays["whitening"]
        means = arrays["means"] @ whiten

        def scores(rows: Array) -> Array:
            white = rows @ whiten
            squared = [np.square(white - mean).sum(axis=1) for mean in means]
            nearer: Array = np.minimum.reduce(squared)
            return nearer

        return scores

    def _covariance(self, centred: Array) -> Array:
        from sklearn import covariance  # most of a second, and only fitting needs it

        if self.shrinkage is None:
            estimate: Array = covariance.ledoit_wolf(centred, assume_centered=True)[0]
            return estimate
        empirical = centred.T @ centred / len(centred)
        shrunk: Array = covariance.shrunk_covariance(empirical, self.shrinkage)
        return shrunk


def whitening(covariance: Array) -> Array:
    """W, shape (dim, dim), with W Wᵀ the inverse of a covariance.

    Raises
    ------
    UserError
        The covariance has no inverse to within rounding.
    """
    variances, axes = np.linalg.eigh(covariance)
    if variances[0] <= len(variances) * np.finfo(np.float64).eps * variances[-1]:
        raise UserError(
            "the covariance of the training embeddings has no inverse (too few clips, copies of "
            "one clip, or dimensions that depend on each other); raise shrinkage"
        )
    whiten: Array = axes / np.sqrt(variances)
    return whiten
