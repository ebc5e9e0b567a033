"""What principal components of the training clips leave of an embedding."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough
from asd.schema.values import Count, Fraction


@dataclass(kw_only=True)
class PcaResidual(Backend):
    """Length of the part of an embedding that lies outside the training clips' main directions.

    With m the mean of the training clips, of both domains, and V their first principal components:
    |x - m - V Vᵀ (x - m)|. The reconstruction residual of arXiv 2606.19269, one of its four
    backends; as old as Jackson and Mudholkar, "Control procedures for residuals associated with
    principal component analysis", Technometrics 1979.

    Parameters
    ----------
    variance
        Share of the variance that the components keep.
    components
        Number of components; null takes as many as `variance` asks for. There are at most one less
        than an embedding has values, and than there are clips.
    """

    variance: Fraction = 0.95
    components: Count | None = None

    array_names = ("mean", "components")

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:  # noqa: ARG002
        """The mean, shape (dim,), and unit directions, shape (components, dim)."""
        check_enough("training", len(rows), "the principal components", 2)
        mean = rows.mean(axis=0)
        _, deviations, directions = np.linalg.svd(rows - mean, full_matrices=False)
        return {"mean": mean, "components": directions[: self._count(deviations, rows.shape)]}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Lengths, in units of the embeddings."""
        mean, directions = arrays["mean"], arrays["components"]

        def scores(rows: Array) -> Array:
            centred = rows - mean
            left = centred - centred @ directions.T @ directions
            lengths: Array = np.sqrt(np.square(left).sum(axis=1))
            return lengths

        return scores

    def _count(self, deviations: Array, shape: tuple[int, ...]) -> int:
        most = min(shape[0], shape[1]) - 1
        if self.components is not None:
            return min(self.components, most)
        kept = np.cumsum(np.square(deviations))
        if kept[-1] == 0:
            return 0
        return min(int(np.searchsorted(kept / kept[-1], self.variance)) + 1, most)
