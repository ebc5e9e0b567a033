"""Distances to the nearest of many references, in bounded memory."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, blocks, squared_lengths

Indices: TypeAlias = NDArray[np.intp]

ROWS_AT_ONCE = 64
"""Rows whose nearest references are held at a time: 64 of dim 768 are 0.4 MB a neighbour."""


def measure(squared: Array, metric: str) -> Array:
    """Distances from squared Euclidean distances d² (for cosine: of unit rows).

    "cosine"
        The cosine distance 1 - cos = d²/2.
    "half_chord"
        d/2 of unit rows, which dcase-asd-toolkit calls cosine: its published scores are these.
        Scores of one neighbour rank clips as cosine does, means over several do not.
    "euclidean"
        d.
    """
    if metric == "cosine":
        return squared / 2
    distance = np.sqrt(squared)
    return distance / 2 if metric == "half_chord" else distance


class Neighbours:
    """References that can be asked for the smallest of scale · distance - offset.

    A matrix product tells which references those are; their distances are then computed from
    differences, so a copy of a reference is at distance 0, however far from the origin it lies,
    and how rows are batched changes nothing. The product knows squared distances to within about
    1e-15 of |x|² + |y|², x and y seen from the references' mean: among references whose distances
    differ by less than that, any may be chosen.

    Parameters
    ----------
    references
        Shape (n_references, dim); of unit length unless the metric is "euclidean".
    metric
        See `measure`.
    scale, offset
        Shape (n_references,): a positive factor of the distance to each reference, and what is
        taken off it; default 1 and 0.
    """

    def __init__(
        self,
        references: Array,
        metric: str,
        *,
        scale: Array | None = None,
        offset: Array | None = None,
    ) -> None:
        self.references = references
        self.metric = metric
        self._scale = np.ones(len(references)) if scale is None else scale
        self._offset = np.zeros(len(references)) if offset is None else offset
        self._is_plain = scale is None and offset is None
        self._centre = references.mean(axis=0)
        self._centred = references - self._centre
        self._squared_lengths = squared_lengths(self._centred)

    def smallest(self, rows: Array, k: int) -> Array:
        """The k smallest of scale · distance - offset for each row, ascending; shape (n, k).

        Parameters
        ----------
        rows
            Shape (n, dim); memory grows with n · n_references.
        k
            At most n_references.
        """
        return self.nearest(rows, k)[1]

    def nearest(self, rows: Array, k: int) -> tuple[Indices, Array]:
        """The references that `smallest` speaks of, and what it gives; shape (n, k) each."""
        chosen = self._choose(rows, k)
        values = self._scale[chosen] * self._distances(rows, chosen) - self._offset[chosen]
        order = np.argsort(values, axis=1, kind="stable")
        return np.take_along_axis(chosen, order, 1), np.take_along_axis(values, order, 1)

    def _choose(self, rows: Array, k: int) -> Indices:
        centred = rows - self._centre
        values = centred @ self._centred.T
        values *= -2
        values += self._squared_lengths
        if not self._is_plain:  # else the order is that of the squares, less those of the rows
            values += squared_lengths(centred)[:, None]
            np.maximum(values, 0, out=values)
            values = self._scale * measure(values, self.metric) - self._offset
        chosen: Indices
        if k == 1:
            chosen = values.argmin(axis=1)[:, None]
        else:
            chosen = np.argpartition(values, k - 1, axis=1)[:, :k]
        return chosen

    def _distances(self, rows: Array, chosen: Indices) -> Array:
        """Distances of each row to the references chosen for it, shape (n, k)."""
        squared = np.empty(chosen.shape)
        for block in blocks(len(rows), ROWS_AT_ONCE):
            difference = self.references[chosen[block]] - rows[block, None]
            squared[block] = np.einsum("nkd,nkd->nk", difference, difference)
        return measure(squared, self.metric)


def nearest_others(rows: Array, k: int, metric: str) -> tuple[Indices, Array]:
    """The k nearest other rows of each row, and the distances to them, ascending.

    Returns
    -------
    Shape (n, k) each. Among copies of a row, the row itself may stand for one of them.
    """
    references = Neighbours(rows, metric)
    found = [references.nearest(rows[block], k + 1) for block in blocks(len(rows))]
    indices, distances = (np.concatenate(parts)[:, 1:] for parts in zip(*found, strict=True))
    return indices, distances
