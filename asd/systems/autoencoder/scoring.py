"""Anomaly scores of groups of windows: of clips, or of batches.

The mean squared error and both forms of the selective Mahalanobis distance come from sums over
windows, so windows of many groups go through the network together, in batches of any size.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from asd.audio.windows import gather_windows
from asd.systems.autoencoder.mahalanobis import invert_covariance, squared_distances
from asd.systems.autoencoder.network import AutoencoderNetwork

MSE, MAHALA, MAHALA_FRAME = "MSE", "MAHALA", "MAHALA-FRAME"
SCORES = (MSE, MAHALA, MAHALA_FRAME)


@dataclass(frozen=True)
class Precisions:
    """Inverse covariances of both domains, shape (mels, mels), float32."""

    source: Tensor
    target: Tensor


def invert_covariances(network: AutoencoderNetwork, machine: str) -> Precisions:
    """Invert the covariances that the network carries; a warning names the machine type."""
    return Precisions(
        invert_covariance(network.cov_source, f"{machine}: source"),
        invert_covariance(network.cov_target, f"{machine}: target"),
    )


@torch.no_grad()
def score_groups(
    network: AutoencoderNetwork,
    precisions: Precisions | None,
    rows: Tensor,
    batches: Iterable[tuple[Tensor, Tensor]],
    groups: int,
    width: int,
    with_frames: bool = True,
) -> dict[str, Tensor]:
    """Score groups of windows.

    Parameters
    ----------
    network
        In evaluation mode.
    precisions
        None leaves out both Mahalanobis scores.
    rows
        Log-mel frames, shape (frames, mels).
    batches
        Pairs of window starts and the group of each window, shape (n,) each. A group may be
        spread over batches; every group has at least one window.
    groups
        Number of groups.
    width
        Frames of a window.
    with_frames
        Whether to compute MAHALA-FRAME, too, which takes as long as the others together.

    Returns
    -------
    dict
        For each of `SCORES`, shape (groups,), float64:
        MSE, the mean of (r(x) - x)^2 over all values;
        MAHALA, the smaller domain's d^T C^-1 d with d the mean row of the group;
        MAHALA-FRAME, the smaller domain's mean of every row's own distance.
    """
    mels = rows.shape[1]
    counts = rows.new_zeros(groups, dtype=torch.float64)
    squares = torch.zeros_like(counts)
    by_domain = counts.new_zeros(2, groups)
    mean_rows = counts.new_zeros(groups, mels)
    for starts, group in batches:
        x = gather_windows(rows, starts, width)
        difference = network(x) - x  # (n, width * mels)
        blocks = difference.view(-1, width, mels)
        counts.index_add_(0, group, counts.new_ones(len(group)))
        squares.index_add_(0, group, difference.square().mean(dim=1).double())
        if precisions is None:
            continue
        mean_rows.index_add_(0, group, blocks.mean(dim=1).double())
        if not with_frames:
            continue
        for sums, inverse in zip(by_domain, (precisions.source, precisions.target), strict=True):
            sums.index_add_(0, group, squared_distances(blocks, inverse).mean(dim=1).double())
    scores = {MSE: squares / counts}
    if precisions is not None:
        inverses = precisions.source.double(), precisions.target.double()
        mean_rows /= counts[:, None]
        scores[MAHALA] = torch.minimum(*(squared_distances(mean_rows, c) for c in inverses))
        if with_frames:
            scores[MAHALA_FRAME] = by_domain.amin(dim=0) / counts
    return scores
