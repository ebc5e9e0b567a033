"""Standardised frame vectors of clips, gathered batch by batch."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd.audio.features import Features
from asd.audio.windows import gather_windows, rows_tensor

_BLOCK = 65536
"""Frames read at once for the statistics: they may come from a disk."""


def frame_statistics(features: Features) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each mel band over all frames of the listed clips.

    Returns
    -------
    tuple
        Two float32 tensors of shape (mels,). The deviation of a constant band is 1.
    """
    index = features.window_starts(1)
    mels = features.rows.shape[1]
    # The first frame is taken off, so that a constant band's deviation is exactly zero.
    origin = features.rows[index[0]].astype(np.float64)
    total, squares = np.zeros(mels), np.zeros(mels)
    for first in range(0, len(index), _BLOCK):
        block = features.rows[index[first : first + _BLOCK]] - origin
        total += block.sum(axis=0)
        squares += np.square(block).sum(axis=0)
    mean = total / len(index)
    deviation = np.sqrt(np.maximum(squares / len(index) - np.square(mean), 0))
    deviation[deviation == 0] = 1
    return (
        torch.from_numpy((origin + mean).astype(np.float32)),
        torch.from_numpy(deviation.astype(np.float32)),
    )


@dataclass(frozen=True)
class FrameVectors:
    """All vectors of `width` consecutive frames of a list of clips, clip after clip.

    Parameters
    ----------
    rows
        Frames, shape (frames, mels).
    starts
        First frame of each vector, shape (vectors,), int64.
    within
        Number of each vector inside its clip, shape (vectors,), int64.
    counts
        Vectors of each clip, shape (clips,).
    width
        Frames per vector.
    mean, deviation
        Taken off and divided by, shape (width * mels,).
    """

    rows: Tensor
    starts: Tensor
    within: Tensor
    counts: NDArray[np.int64]
    width: int
    mean: Tensor
    deviation: Tensor

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, index: Tensor | slice) -> Tensor:
        """The chosen vectors, standardised: shape (batch, width * mels)."""
        gathered = gather_windows(self.rows, self.starts[index], self.width)
        return gathered.sub_(self.mean).div_(self.deviation)


def frame_vectors(
    features: Features, width: int, hop: int, mean: Tensor, deviation: Tensor
) -> FrameVectors:
    """Vectors of `width` frames, `hop` frames apart, on the device of `mean`.

    Parameters
    ----------
    mean, deviation
        As `frame_statistics` gives them, shape (mels,).
    """
    device = mean.device
    first = int(features.starts.min(initial=len(features.rows)))
    stop = int((features.starts + features.lengths).max(initial=first))
    counts = features.window_counts(width, hop)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return FrameVectors(
        rows=rows_tensor(features.rows[first:stop]).to(device),
        starts=torch.from_numpy(features.window_starts(width, hop) - first).to(device),
        within=torch.from_numpy(within).to(device),
        counts=counts,
        width=width,
        mean=mean.repeat(width),
        deviation=deviation.repeat(width),
    )
