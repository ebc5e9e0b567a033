"""Features of a list of clips, end to end in one array."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Features:
    """The rows of all clips, one clip after the other; clips may differ in length.

    Parameters
    ----------
    rows
        Log-mel frames in dB of shape (rows, mels), float32, or samples of shape (rows,).
        May be memory-mapped and hold more clips than are listed here.
    starts
        First row of each clip, shape (clips,), int64.
    lengths
        Number of rows of each clip, shape (clips,), int64.
    sample_rate_hz
        Sampling rate of all clips.
    """

    rows: NDArray[np.float32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    sample_rate_hz: int

    def __len__(self) -> int:
        return len(self.starts)

    def clip(self, index: int) -> NDArray[np.float32]:
        """The rows of one clip, as a view."""
        start = self.starts[index]
        return self.rows[start : start + self.lengths[index]]

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> "Features":
        """The same rows with only the clips at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, starts=self.starts[chosen], lengths=self.lengths[chosen])

    def window_starts(self, width: int, hop: int = 1) -> NDArray[np.int64]:
        """First row of every window of `width` rows, `hop` rows apart, clip after clip.

        No window spans two clips.

        Returns
        -------
        NDArray
            Shape (windows,). Clip i has `window_counts(width, hop)[i]` of them.
        """
        counts = self.window_counts(width, hop)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        first: NDArray[np.int64] = np.repeat(self.starts, counts) + hop * within
        return first

    def window_counts(self, width: int, hop: int = 1) -> NDArray[np.int64]:
        """Number of windows of each clip, shape (clips,); 0 for a clip shorter than one."""
        return np.maximum(self.lengths - width + hop, 0) // hop
