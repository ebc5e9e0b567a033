"""Scaled frame vectors of clips, log-mel images too, gathered batch by batch."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd.audio.features import Features
from asd.audio.windows import gather_windows, rows_tensor
from asd.errors import UserError

Scaling = Literal["training", "published", "none"]
"""How frames can be scaled: see `frame_scaling`."""

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


def frame_scaling(
    features: Features, scaling: Scaling, reach: float = 1.0
) -> tuple[Tensor, Tensor]:
    """What to take off each mel band, and what to divide it by.

    Parameters
    ----------
    scaling
        "training": bring the training frames to mean 0 and deviation 1 / `reach`. "published":
        times two minus one, meant for values from 0 to 1 (a program for log-mel images did it to
        decibels). "none".
    reach
        How many deviations from the mean become 1, the most that a generator ending in tanh gives.

    Returns
    -------
    tuple
        Two float32 tensors of shape (mels,).

    Raises
    ------
    UserError
        Training frames hold values that are not finite.
    """
    mels = features.rows.shape[1]
    if scaling == "published":
        return torch.full((mels,), 0.5), torch.full((mels,), 0.5)
    if scaling == "none":
        return torch.zeros(mels), torch.ones(mels)
    mean, deviation = frame_statistics(features)
    if not torch.isfinite(mean + deviation).all():
        raise UserError(
            "training features: some values are not finite numbers; check the recordings"
        )
    return mean, deviation * reach


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

    def select(self, index: NDArray[np.int64]) -> "FrameVectors":
        """The vectors at `index`, in that order, no longer clip by clip."""
        chosen = torch.from_numpy(index).to(self.starts.device)
        counts = np.array([len(index)], dtype=np.int64)
        return replace(self, starts=self.starts[chosen], within=self.within[chosen], counts=counts)

    def batch(self, index: Tensor | slice) -> Tensor:
        """The chosen vectors, scaled: shape (batch, width * mels)."""
        gathered = gather_windows(self.rows, self.starts[index], self.width)
        return gathered.sub_(self.mean).div_(self.deviation)


def frame_vectors(
    features: Features, width: int, hop: int, mean: Tensor, deviation: Tensor
) -> FrameVectors:
    """Vectors of `width` frames, `hop` frames apart, on the device of `mean`.

    Parameters
    ----------
    mean, deviation
        As `frame_scaling` gives them, shape (mels,).
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


def with_target_share(
    counts: NDArray[np.int64], is_target: NDArray[np.bool_], share: float
) -> NDArray[np.int64]:
    """Which vectors make an epoch in which the target domain has about its share.

    Target clips are few, ten of a thousand: as they are, little is learned of them, and normal
    sound of that domain then looks as anomalous as a fault.

    Parameters
    ----------
    counts
        Vectors of each clip, shape (clips,).
    is_target
        Of each clip, shape (clips,).
    share
        From 0 to below 1. The target's vectors are taken as many whole times as come nearest.

    Returns
    -------
    NDArray
        Indices of vectors, shape (vectors of the epoch,): every one at least once.
    """
    of_target = np.repeat(is_target, counts)
    target, source = np.flatnonzero(of_target), np.flatnonzero(~of_target)
    if not len(target) or not len(source):
        return np.arange(len(of_target))
    times = max(1, round(share / (1 - share) * len(source) / len(target)))
    return np.concatenate([np.sort(np.concatenate([source, target])), np.tile(target, times - 1)])
