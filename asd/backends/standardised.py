"""Distance to the nearest training clips, in units of the training clips' own distances."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough
from asd.backends.neighbours import Neighbours, nearest_others
from asd.schema.values import Count

SMALLEST_DEVIATION = 1e-6
"""Least deviation, as a share of the largest distance: keeps scores finite at copies."""


@dataclass(kw_only=True)
class StandardisedKnn(Backend):
    """Mean distance to the k nearest training clips of either domain, standardised.

    (D - m) / d, where m and d are mean and standard deviation (divisor n) of the training clips'
    mean distances to their k nearest other clips. It ranks a machine's clips as D does; scores of
    machines, and of references of other models, become alike. From 3 on, khoaphamanh/DCASE2024
    (the source) decides a clip to be anomalous.

    Its `k_neighbors` is k + 1: of a training clip's neighbours the first, which is the clip itself,
    is left out, and of a test clip's the farthest.

    Parameters
    ----------
    k
        Distances that are averaged.
    """

    k: Count = 1

    array_names = ("references", "scale")

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:  # noqa: ARG002
        """All rows; mean and deviation of their distances."""
        check_enough("training", len(rows), "k", self.k + 1)
        own = nearest_others(rows, self.k, self.metric)[1].mean(axis=1)
        least = SMALLEST_DEVIATION * float(own.max())
        deviation = max(float(own.std()), least) or 1.0
        return {"references": rows, "scale": np.array([own.mean(), deviation])}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Deviations above the mean distance of training clips."""
        references = Neighbours(arrays["references"], self.metric)
        mean, deviation = arrays["scale"]

        def scores(rows: Array) -> Array:
            found: Array = (references.smallest(rows, self.k).mean(axis=1) - mean) / deviation
            return found

        return scores
