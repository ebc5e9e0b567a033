"""Distance to the nearest training clips, relative to how densely clips lie around these."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import (
    Array,
    Arrays,
    Backend,
    Scorer,
    blocks,
    check_at_least,
    check_between,
    check_enough,
)
from asd.backends.neighbours import Neighbours, measure

SMALLEST_DENSITY = 1e-6
"""Least local distance, as a share of the mean over the set: keeps scores finite at copies."""


@dataclass(kw_only=True)
class RescaledKnn(Backend):
    """Mean over the k smallest of distance(row, clip) / local distance(clip), over all clips.

    The local distance of a training clip is the mean distance to its `k_density` nearest other
    training clips, of either domain; so clips of a sparse target domain are not far from
    everything merely because they are few. No domain labels are needed.
    Source: K. Wilkinghoff, H. Yang, J. Ebbers, F. G. Germain, G. Wichern, J. Le Roux, "Keeping the
    balance: anomaly score calculation for domain generalization", ICASSP 2025, and "Local
    density-based anomaly score normalization for domain generalization", arXiv 2509.10951.

    With "cosine" both are cosine distances, as in the papers. With "half_chord" both are lengths
    of chords, as dcase-asd-toolkit takes them for its published scores: the square root of each
    quotient, were the local distance that of one neighbour.

    Parameters
    ----------
    k
        Quotients that the score is a mean of.
    k_density
        Neighbours of the local distance.
    decay
        None, or from 0 to 1 for the GWRP variant: the local distance is the mean over all other
        training clips, weighted by decay^0, decay^1, ... in the order of their distances (global
        weighted rank pooling, Kolesnikov and Lampert, ECCV 2016); `k_density` then does not
        count. 0 takes the nearest clip alone, 1 the mean over all.
    """

    k: int = 1
    k_density: int = 4
    decay: float | None = None

    array_names = ("references", "local_distance")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("k", self.k, 1)
        check_at_least("k_density", self.k_density, 1)
        if self.decay is not None:
            check_between("decay", self.decay, 0, 1)

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:  # noqa: ARG002
        """All rows, and the local distance of each."""
        check_enough("training", len(rows), "k", self.k)
        if self.decay is None:
            check_enough("training", len(rows), "k_density", self.k_density + 1)
            ranks = np.full(self.k_density, 1 / self.k_density)
            squared = nearest_others(rows, self.k_density)
        else:
            check_enough("training", len(rows), "decay", 2)
            ranks = self.decay ** np.arange(len(rows) - 1.0)
            ranks /= ranks.sum()
            squared = nearest_others(rows, int((ranks > np.finfo(np.float64).eps).sum()))
        local = measure(squared, self.metric) @ ranks[: squared.shape[1]]
        return {"references": rows, "local_distance": local}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Scores without unit, about 1 for clips that lie like training clips."""
        local = arrays["local_distance"]
        local = np.maximum(local, SMALLEST_DENSITY * local.mean()) if local.any() else local + 1
        # cosine grows as the squared distance does, the other metrics as its square root
        weights = 1 / local if self.metric == "cosine" else local**-2
        references = Neighbours(arrays["references"], weights)
        return lambda rows: measure(references.smallest(rows, self.k), self.metric).mean(axis=1)


def nearest_others(rows: Array, k: int) -> Array:
    """Squared distances of each row to its k nearest other rows, ascending; shape (n, k)."""
    references = Neighbours(rows)
    nearest = [references.smallest(rows[block], k + 1)[:, 1:] for block in blocks(len(rows))]
    return np.concatenate(nearest)
