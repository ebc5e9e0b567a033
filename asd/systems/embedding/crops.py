"""Pieces of one length from clips of any length.

A clip that is shorter than the piece is repeated, as a whole, until it is long enough; the piece
then starts at 0, or, in training, anywhere it fits.
"""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from asd.audio.features import Features
from asd.audio.windows import rows_tensor

_SHARE_OF_DEVICE = 0.5  # of a GPU's free memory that samples may take


@dataclass(frozen=True)
class Waves:
    """Waveforms of clips, end to end.

    Parameters
    ----------
    rows
        Samples of all clips, shape (samples,): on the device if they fit, else on the CPU.
        Float32, or int16 where there is a `scale`.
    starts, lengths
        First sample and number of samples of each clip, shape (clips,), int64, on the CPU.
    """

    rows: Tensor
    starts: Tensor
    lengths: Tensor
    scale: float | None = None

    @classmethod
    def place(cls, features: Features, device: torch.device) -> "Waves":
        """Waveforms as tensors; a memory-mapped store is not read before its samples are used."""
        rows = rows_tensor(features.rows)
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if rows.nbytes <= _SHARE_OF_DEVICE * free:
                rows = rows.to(device)
        starts, lengths = torch.from_numpy(features.starts), torch.from_numpy(features.lengths)
        return cls(rows, starts, lengths, features.scale)

    def __len__(self) -> int:
        return len(self.starts)

    def random_crops(self, clips: Tensor, width: int, generator: Generator) -> Tensor:
        """A piece from anywhere in each of `clips` (their indices), shape (n, width)."""
        return self._crops(clips, random_offsets(self.lengths[clips], width, generator), width)

    def first_crops(self, clips: Tensor, width: int) -> Tensor:
        """The piece at the start of each of `clips`, shape (n, width)."""
        return self._crops(clips, torch.zeros_like(clips), width)

    def crops_at(self, clips: Tensor, offsets: Tensor, width: int) -> Tensor:
        """The piece that starts at each of `offsets`, shape (n, width)."""
        return self._crops(clips, offsets, width)

    def cut_once(self, width: int, generator: Generator) -> "Waves":
        """The same clips, of longer ones only a piece of `width` samples from anywhere."""
        offsets = random_offsets(self.lengths, width, generator)
        offsets[self.lengths <= width] = 0
        return replace(self, starts=self.starts + offsets, lengths=self.lengths.clamp(max=width))

    def _crops(self, clips: Tensor, offsets: Tensor, width: int) -> Tensor:
        starts, lengths = self.starts[clips], self.lengths[clips]
        crops = gather_crops(self.rows, starts, lengths, offsets, width)
        return crops if self.scale is None else crops.float().mul_(self.scale)


@dataclass(frozen=True)
class JoinedWaves:
    """Waveforms of two sets of clips, numbered through."""

    first: Waves
    second: Waves

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def random_crops(self, clips: Tensor, width: int, generator: Generator) -> Tensor:
        """A piece from anywhere in each of `clips` (their indices), shape (n, width)."""
        lengths = torch.cat([self.first.lengths, self.second.lengths])[clips]
        return self.crops_at(clips, random_offsets(lengths, width, generator), width)

    def cut_once(self, width: int, generator: Generator) -> "JoinedWaves":
        """As of `Waves`."""
        first, second = (each.cut_once(width, generator) for each in (self.first, self.second))
        return JoinedWaves(first, second)

    def crops_at(self, clips: Tensor, offsets: Tensor, width: int) -> Tensor:
        """The piece that starts at each of `offsets`, shape (n, width)."""
        late = clips >= len(self.first)
        device = self.first.rows.device
        crops = torch.empty((len(clips), width), device=device)
        for waves, chosen, start in (
            (self.first, ~late, 0),
            (self.second, late, len(self.first)),
        ):
            if chosen.any():
                found = waves.crops_at(clips[chosen] - start, offsets[chosen], width)
                crops[chosen.to(device)] = found.to(crops)
        return crops


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
