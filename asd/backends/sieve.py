"""Lower bounds of squared distances from one fast matrix product.

They lie below the distances by no more than rounding can account for, so that whoever looks for
the nearest references has to compute few distances exactly.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from asd.backends.base import Array

FARTHEST = 1e15
"""Distance from the centre, in the sieve's units, that rows are taken at if they are farther."""

ABOVE_ALL = 1e38
"""More than any bound, and less than the largest number of float32."""

_FLOAT32, _BFLOAT16 = 2.0**-24, 2.0**-8
"""Largest relative errors of rounding to these types."""


class Sieve:
    """Lower bounds of w|x - y|² for rows x and references y of weights w.

    A product over dim + 4 terms, whose sizes add up to at most 2(|x|² + |y|²), gives |x - y|²;
    |x|² and |y|² enter it smaller by the share of them that the product may be off by. x and y
    are seen from the references' mean, which keeps them short.

    Parameters
    ----------
    references
        Shape (n_references, dim).
    weights
        Shape (n_references,), positive.
    coarse
        Multiply in bfloat16: four times as fast on processors made for it, and bounds that lie
        up to 1.6 % of |x|² + |y|² below the distances instead of 0.01 %.
    """

    def __init__(self, references: Array, weights: Array, coarse: bool) -> None:
        dim = references.shape[1]
        self.coarse = coarse
        # Sums in float32 are off by (dim + 4) roundoffs of their terms; 4 more cover rounding
        # the terms and weighting the sums. Of 2x·y, rounding x and y to bfloat16 costs (2 + u)u.
        self._keep = 1 - 2 * (dim + 8) * _FLOAT32 - (2.02 * _BFLOAT16 if coarse else 0)
        self._centre = references.mean(axis=0)
        y = references - self._centre
        self._unit = float(np.sqrt(squares(y).max())) or 1.0  # keeps squares within float32
        y /= self._unit
        self._heaviest = weights.max()
        self._weights = (weights / self._heaviest).astype(np.float32)
        if coarse:
            self._weights *= 1 - 2 * _BFLOAT16  # the product itself is rounded, too
        factors = np.ones((len(y), dim + 4), dtype=np.float32)
        np.multiply(y, -2, out=factors[:, :dim], casting="same_kind")
        factors[:, dim + 2 :] = self._split(self._keep * squares(y))
        self._factors = factors.T
        self._coarse_factors = torch.from_numpy(factors).bfloat16().T if coarse else None

    def bounds(self, rows: Array) -> NDArray[np.float32]:
        """Bounds in the sieve's units, shape (n, n_references), for rows of shape (n, dim)."""
        x = rows - self._centre
        length = squares(x) / self._unit**2
        # From afar all references are equally near, to within rounding.
        nearer = np.minimum(1, FARTHEST / np.sqrt(np.maximum(length, 1)))
        dim = x.shape[1]
        factors = np.ones((len(x), dim + 4), dtype=np.float32)
        np.multiply(x, (nearer / self._unit)[:, None], out=factors[:, :dim], casting="same_kind")
        factors[:, dim : dim + 2] = self._split(self._keep * nearer**2 * length)
        bounds = self._product(factors)
        bounds *= self._weights
        return bounds

    def limits(self, distances: Array) -> NDArray[np.float32]:
        """Numbers in the sieve's units that no bound of a distance this large is above."""
        limits = np.fmin(distances / self._unit**2 / self._heaviest, ABOVE_ALL).astype(np.float32)
        above: NDArray[np.float32] = np.nextafter(limits, np.float32("inf"))
        return above

    def _product(self, factors: NDArray[np.float32]) -> NDArray[np.float32]:
        product: NDArray[np.float32]
        if self._coarse_factors is None:
            product = factors @ self._factors
        else:
            rounded = torch.from_numpy(factors).bfloat16()
            product = (rounded @ self._coarse_factors).float().numpy()
        return product

    def _split(self, values: Array) -> NDArray[np.float32]:
        """Two terms of the product's type that add up to each value, shape (n, 2)."""
        first = values.astype(np.float32)
        if self.coarse:
            first = torch.from_numpy(first).bfloat16().float().numpy()
        return np.stack([first, values - first], axis=1, dtype=np.float32, casting="same_kind")


def fast_in_bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 faster than of float32."""
    told = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in told)


def squares(rows: Array) -> Array:
    """Squared lengths of rows, shape (n,)."""
    found: Array = np.einsum("nd,nd->n", rows, rows)
    return found
