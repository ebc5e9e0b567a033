"""Classes of equal size by synthetic clips: which rows are copied, and which are neighbours.

Small classes are filled up with changed copies until each row has neighbours; then SMOTE (Chawla
et al., "SMOTE: Synthetic minority over-sampling technique", JAIR 2002) puts a row between a clip
and a neighbour of its class: x + u (y - x), with u uniform on [0, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd.schema.values import Count, Positive

Pieces = Callable[[Tensor, int, int], Tensor]
"""Samples of rows: (row numbers, first sample, samples) -> shape (rows, samples)."""

_ROWS_AT_ONCE = 1024
_VALUES_AT_ONCE = 2**22
"""Samples that are held at a time where neighbours are looked for: 16 MB."""


@dataclass(frozen=True)
class OversamplingRecipe:
    """Training on classes of equal size.

    Each class is filled up to the size of the largest: an epoch's rows are drawn evenly over
    classes, and of a class with n clips, where the largest has N, a share n/N are clips as they
    are, the others lie between a clip and one of its nearest. Synthetic rows are drawn anew for
    every batch. Source: khoaphamanh/DCASE2024, which draws all of them once: the distribution is
    the same, and 42 GB of samples are not kept.

    Parameters
    ----------
    neighbours
        Neighbours of a clip, by the Euclidean distance of samples, of which one is drawn. Classes
        of no more clips than this get copies, changed by audiomentations, until they have one
        more.
    len_factor
        Rows of an epoch, as a share of all rows: classes times the size of the largest.
    """

    neighbours: Count = 5
    len_factor: Positive = 1.0


def rows_to_copy(
    classes: NDArray[np.int64], least: int, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Which row each copy is made of, so that every class has `least` rows; shape (copies,).

    Class by class in ascending order, each drawn from the class's own rows.

    Parameters
    ----------
    classes
        Class of each row, shape (rows,).
    """
    found: list[int] = []
    for number in np.unique(classes):
        own = np.flatnonzero(classes == number)
        found += [int(random.choice(own)) for _ in range(least - len(own))]
    return np.array(found, dtype=np.int64)


def class_neighbours(pieces: Pieces, classes: Tensor, samples: int, count: int) -> Tensor:
    """The nearest rows of its class of each row, nearest first, shape (rows, count).

    Parameters
    ----------
    pieces
        Gives the samples of rows; asked for some samples of a class's rows at a time.
    classes
        Class of each row, shape (rows,), on the CPU; each has more than `count` rows.
    samples
        Length of a row.
    """
    found = torch.empty((len(classes), count), dtype=torch.int64)
    for number in torch.unique(classes):
        own = (classes == number).nonzero()[:, 0]
        for block in torch.split(torch.arange(len(own)), _ROWS_AT_ONCE):
            squared = _squared_distances(pieces, own, block, samples)
            squared[torch.arange(len(block)), block] = torch.inf  # not itself
            nearest = squared.topk(count, dim=1, largest=False).indices.cpu()
            found[own[block]] = own[nearest]
    return found


def _squared_distances(pieces: Pieces, rows: Tensor, block: Tensor, samples: int) -> Tensor:
    """Between `rows[block]` and all `rows`, less what is the same for all; shape (block, rows)."""
    at_once = max(1, _VALUES_AT_ONCE // len(rows))
    found: Tensor | None = None
    for first in range(0, samples, at_once):
        values = pieces(rows, first, min(at_once, samples - first))
        own = values[block.to(values.device)]
        part = values.square().sum(dim=1) - 2 * (own @ values.T)
        found = part.double() if found is None else found.add_(part)
    assert found is not None
    return found
