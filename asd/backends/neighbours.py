"""Exact distances to the nearest of many references, fast and in little memory."""

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array

PAIRS_AT_ONCE = 512
"""Pairs of rows whose differences are held at a time: 1 MB at dim 256."""

PARTITION_ABOVE = 8
"""Up to this many neighbours repeated minima are faster than a partition (measured)."""

UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of rounding to float32."""

FARTHEST = 1e15
"""Distance from the centre that rows are taken at in the sieve if they are farther."""

ABOVE_ALL = 1e38
"""More than any number in the sieve, and less than the largest of float32."""


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

    A product of float32 matrices gives each weighted squared distance to within a known error; it
    serves as a sieve. Every pair that could be among the k smallest is then computed in float64
    from its difference, so copies are at distance 0 and results do not depend on how rows are
    batched, however close or far from the origin they lie.

    Parameters
    ----------
    references
        Shape (n_references, dim).
    weights
        Shape (n_references,), positive: factors of the squared distances; default 1.
    """

    def __init__(self, references: Array, weights: Array | None = None) -> None:
        n, dim = references.shape
        self.references = references
        self.weights = np.ones(n) if weights is None else weights
        self._centre = references.mean(axis=0)  # distances stay, float32 errors shrink
        y = references - self._centre
        self._unit = float(np.sqrt(_squares(y).max())) or 1.0  # keeps squares within float32
        y /= self._unit
        # A product over dim + 2 terms, whose sizes add up to at most 2w(|x|² + |y|²), is off by
        # at most this much of w(|x|² + |y|²); the margin of 8 covers rounding the factors.
        self._keep = 1 - 2 * (dim + 8) * UNIT_ROUNDOFF
        self._heaviest = self.weights.max()
        factors = np.ones((n, dim + 2), dtype=np.float32)
        factors[:, -1] = self._keep * _squares(y)
        np.multiply(y, -2, out=factors[:, :-2], casting="same_kind")
        factors *= (self.weights / self._heaviest)[:, None]
        self._factors = factors.T

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
        floor = self._floor(rows)
        owners = np.repeat(np.arange(len(rows)), k)
        values = self._exact(rows, owners, _take_smallest(floor, k).ravel())
        # The k chosen are no less than the k smallest: nothing whose floor is above them matters.
        limit = values.reshape(-1, k).max(axis=1) / self._unit**2 / self._heaviest
        limit = np.nextafter(np.fmin(limit, ABOVE_ALL).astype(np.float32), np.float32("inf"))
        others = np.flatnonzero(floor <= limit[:, None])
        more_owners, more = np.divmod(others, len(self.references))
        values = np.concatenate([values, self._exact(rows, more_owners, more)])
        owners = np.concatenate([owners, more_owners])
        order = np.lexsort((values, owners))
        starts = np.searchsorted(owners[order], np.arange(len(rows)))
        ranked: Array = values[order][starts[:, None] + np.arange(k)]
        return ranked

    def _floor(self, rows: Array) -> NDArray[np.float32]:
        """At least this far, squared and weighted, in the sieve's units; (n, n_references)."""
        x = rows - self._centre
        squares = _squares(x) / self._unit**2
        # From afar all references are equally near, to within rounding.
        nearer = np.minimum(1, FARTHEST / np.sqrt(np.maximum(squares, 1)))
        factors = np.ones((len(x), x.shape[1] + 2), dtype=np.float32)
        np.multiply(x, (nearer / self._unit)[:, None], out=factors[:, :-2], casting="same_kind")
        factors[:, -2] = self._keep * nearer**2 * squares
        floor: NDArray[np.float32] = factors @ self._factors
        return floor

    def _exact(self, rows: Array, i: NDArray[np.intp], j: NDArray[np.intp]) -> Array:
        """Weighted squared distances of pairs: row i[p], reference j[p]; shape (pairs,)."""
        values = np.empty(len(i))
        for start in range(0, len(i), PAIRS_AT_ONCE):
            pairs = slice(start, start + PAIRS_AT_ONCE)
            difference = self.references[j[pairs]]
            difference -= rows[i[pairs]]
            values[pairs] = _squares(difference)
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


def _squares(rows: Array) -> Array:
    """Squared lengths of rows, shape (n,)."""
    squares: Array = np.einsum("nd,nd->n", rows, rows)
    return squares
