"""Windows of consecutive frames, gathered when they are needed; they are never stored."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def rows_tensor(rows: NDArray[np.float32]) -> Tensor:
    """A tensor on the memory of `rows`, often a read-only memory map: nothing may write to it.

    No row is read before it is used, so rows may take more memory than there is.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(rows)


def gather_windows(rows: Tensor, starts: Tensor, width: int) -> Tensor:
    """Copy the windows that begin at the frames `starts` into one batch.

    Frames are gathered whole, which takes a third of the time of indexing a strided view.

    Parameters
    ----------
    rows
        Frames, shape (frames, mels).
    starts
        First frame of each window, shape (windows,), int64.

    Returns
    -------
    Tensor
        Shape (windows, width * mels): consecutive frames side by side, oldest first.
    """
    within = torch.arange(width, device=rows.device)
    index = (starts[:, None] + within).reshape(-1)
    return rows.index_select(0, index).view(len(starts), -1)
