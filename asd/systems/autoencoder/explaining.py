"""What each time and mel band adds to the autoencoder's scores.

All three scores are means over the rows d of a clip, the differences of reconstruction and input
(see `mahalanobis`): of |d|^2 over all values (MSE), of d^T C^-1 d (MAHALA-FRAME), and of
d^T C^-1 d' with d' the mean row (MAHALA, whose mean over d is d'^T C^-1 d'). So the terms of each
sum can be put where they come from: the frame of the row, and the mel band.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd.audio.windows import gather_windows
from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.autoencoder.scoring import MAHALA, MSE, Precisions

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Contributions:
    """Adds up what frames and mel bands contribute to a score.

    Parameters
    ----------
    network
        In evaluation mode.
    precisions
        Needed for both Mahalanobis scores.
    width, hop
        Frames of a window, and frames between windows.
    """

    network: AutoencoderNetwork
    precisions: Precisions | None
    width: int
    hop: int

    @torch.no_grad()
    def of_clip(self, frames: Tensor, score: str) -> Array:
        """Contributions of shape (frames, mels); their sum is the clip's score.

        Parameters
        ----------
        frames
            Log-mel frames of a clip, shape (frames, mels); as many as a window takes at least.
        """
        starts = torch.arange(0, len(frames) - self.width + 1, self.hop, device=frames.device)
        x = gather_windows(frames, starts, self.width)
        rows = (self.network(x) - x).view(-1, frames.shape[1]).double()
        terms = rows * self._weights(rows, score) / len(rows)
        place = (starts[:, None] + torch.arange(self.width, device=frames.device)).reshape(-1)
        found = torch.zeros(frames.shape, dtype=torch.float64, device=frames.device)
        return found.index_add_(0, place, terms).cpu().numpy()

    def by_band(self, clips: Sequence[Tensor], score: str) -> Array:
        """What mel bands add to the score of a clip, averaged over clips, shape (mels,)."""
        found: Array = np.mean([self.of_clip(clip, score).sum(axis=0) for clip in clips], axis=0)
        return found

    def visits(self, frames: int) -> Array:
        """Share of all rows that each frame gives, shape (frames,): fewer at both ends."""
        starts = np.arange(0, frames - self.width + 1, self.hop)
        place = starts[:, None] + np.arange(self.width)
        found: Array = np.bincount(place.ravel(), minlength=frames) / place.size
        return found

    def _weights(self, rows: Tensor, score: str) -> Tensor:
        """What rows are to be multiplied by, so that the mean over rows of the sum is the score."""
        if score == MSE:
            return rows / rows.shape[1]
        if self.precisions is None:
            raise RuntimeError(f"{score} needs the inverse covariances")
        inverses = (self.precisions.source.double(), self.precisions.target.double())
        if score == MAHALA:
            mean = rows.mean(dim=0)
            weights = [(inverse @ mean).expand_as(rows) for inverse in inverses]
        else:
            weights = [rows @ inverse for inverse in inverses]
        return min(weights, key=lambda each: float((rows * each).sum()))
