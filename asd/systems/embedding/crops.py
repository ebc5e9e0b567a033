"""Pieces of one length from clips of any length.

A clip that is shorter than the piece is repeated, as a whole, until it is long enough; the piece
then starts at 0, or, in training, anywhere it fits.
"""

import torch
from torch import Generator, Tensor


def random_offsets(lengths: Tensor, width: int, generator: Generator) -> Tensor:
    """Where in each (repeated) clip a piece of `width` samples starts, drawn evenly, ends included.

    Parameters
    ----------
    lengths
        Samples of each clip, shape (N,), int64.
    """
    repeated = lengths * ((width + lengths - 1) // lengths)
    # In double precision: single precision has fewer steps than a long clip has samples.
    share = torch.rand(len(lengths), generator=generator, dtype=torch.float64)
    return (share * (repeated - width + 1)).long()


def gather_crops(
    rows: Tensor, starts: Tensor, lengths: Tensor, offsets: Tensor, width: int
) -> Tensor:
    """Copy pieces of clips that lie end to end in `rows` into one batch.

    Parameters
    ----------
    rows
        Samples of all clips, shape (samples,).
    starts, lengths
        First sample and number of samples of each clip, shape (N,), on the CPU.
    offsets
        Where in each (repeated) clip its piece starts, shape (N,).

    Returns
    -------
    Tensor
        Shape (N, width), on the device of `rows`.
    """
    if bool((offsets + width <= lengths).all()):
        windows = rows.as_strided((len(rows) - width + 1, width), (1, 1))
        return windows.index_select(0, (starts + offsets).to(rows.device))
    # Clip by clip: an index of every sample would take ten times as long.
    crops = rows.new_empty((len(starts), width))
    places = torch.stack([starts, lengths, offsets], dim=1).tolist()
    for crop, (start, length, offset) in zip(crops, places, strict=True):
        repeats = -(-(offset + width) // length)
        crop.copy_(rows[start : start + length].repeat(repeats)[offset : offset + width])
    return crops
