"""Exact distances to the nearest of many references, fast and in little memory."""

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array
from asd.backends.sieve import Sieve, fast_in_bfloat16, squares

PAIRS_AT_ONCE = 512
"""Pairs of rows whose differences are held at a time: 1 MB at dim 256."""

PARTITION_ABOVE = 8
"""Up to this many neighbours repeated minima are faster than a partition (measured)."""

MANY = 128
"""References from which on a coarse sieve is faster, where the processor has one (measured)."""

CROWDED = 4
"""Candidates per neighbour wanted from which on a fine sieve is faster (measured)."""


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
    """References that can be asked for the smallest weighted distances to them.

    A sieve gives a lower bound of each weighted squared distance. Every pair that could be among
    the k smallest is then computed in float64 from its difference, so copies are at distance 0
    and results do not depend on how rows are batched, however close or far from the origin they
    lie.

    Parameters
    ----------
    references
        Shape (n_references, dim).
    weights
        Shape (n_references,), positive: factors of the squared distances; default 1.
    """

    def __init__(self, references: Array, weights: Array | None = None) -> None:
        self.references = references
        self.weights = np.ones(len(references)) if weights is None else weights
        coarse = len(references) >= MANY and fast_in_bfloat16()
        self._sieve = Sieve(references, self.weights, coarse)

    def smallest(self, rows: Array, k: int) -> Array:
        """The k smallest of weight · |row - reference|² for each row, ascending.

        Parameters
        ----------
        rows
            Shape (n, dim); memory grows with n · n_references.
        k
            At most n_references.

        Returns
        -------
        Shape (n, k).
        """
        bounds = self._sieve.bounds(rows)
        owners = np.repeat(np.arange(len(rows)), k)
        values = self._exact(rows, owners, _take_smallest(bounds, k).ravel())
        # The k chosen are no less than the k smallest: no pair with a bound above them matters.
        limits = self._sieve.limits(values.reshape(-1, k).max(axis=1))
        others = np.flatnonzero(bounds <= limits[:, None])
        if self._sieve.coarse and len(others) > CROWDED * len(owners):
            self._sieve = Sieve(self.references, self.weights, coarse=False)
            return self.smallest(rows, k)
        more_owners, more = np.divmod(others, len(self.references))
        values = np.concatenate([values, self._exact(rows, more_owners, more)])
        owners = np.concatenate([owners, more_owners])
        order = np.lexsort((values, owners))
        starts = np.searchsorted(owners[order], np.arange(len(rows)))
        ranked: Array = values[order][starts[:, None] + np.arange(k)]
        return ranked

    def _exact(self, rows: Array, i: NDArray[np.intp], j: NDArray[np.intp]) -> Array:
        """Weighted squared distances of pairs: row i[p], reference j[p]; shape (pairs,)."""
        values = np.empty(len(i))
        for start in range(0, len(i), PAIRS_AT_ONCE):
            pairs = slice(start, start + PAIRS_AT_ONCE)
            difference = self.references[j[pairs]]
            difference -= rows[i[pairs]]
            values[pairs] = squares(difference)
        values *= self.weights[j]
        return values


def _take_smallest(values: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Columns of k smallest values of each row, shape (n, k); they are overwritten by infinity."""
    if k > PARTITION_ABOVE:
        columns = np.argpartition(values, k - 1, axis=1)[:, :k]
        np.put_along_axis(values, columns, np.float32("inf"), axis=1)
        return columns
    columns = np.empty((len(values), k), dtype=np.intp)
    rows = np.arange(len(values))
    for column in columns.T:
        values.argmin(axis=1, out=column)
        values[rows, column] = np.inf
    return columns
