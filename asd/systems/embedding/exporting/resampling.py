"""Waveforms at another sampling rate, as modules of matrix products.

There are two, as frozen encoders and tuned ones hear waves by different resamplers.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd.audio.recording import resample
from asd.encoders.resampling import resampled_length
from asd.errors import UserError
from asd.systems.embedding.exporting.spectra import clip_transform
from asd.systems.exporting import framed

_INAUDIBLE = 1e-7
"""Share of the largest value of a filter below which it has ended: what float32 rounds off."""
_EQUAL = 1e-6
"""Difference between answers to a unit impulse that counts for none."""
_LARGEST_TABLE = 1 << 22
"""Values of the matrix: 16 MB."""
_FEWEST_OUTPUTS = 32
"""Columns of the matrix: with fewer, most time would go into cutting frames."""
_LARGEST_BLOCK = 64
"""Samples that frames are put together of, at most."""


class FilterResampler(nn.Module):
    """Waves (n, samples) at another rate, as `asd.audio.recording.resample` gives them.

    That is a linear filter, which does the same again after every common period of both rates
    (10 ms of 16 and 44.1 kHz). So the answers to unit impulses, taken from the resampler itself,
    are a matrix from the samples in and around some periods to the new samples in them. For some
    rates the library's first few new samples are no such answers; they get what is missing.

    Parameters
    ----------
    samples
        Length of the waves.
    rate_hz, wanted_hz
        Their rate, and the new one.

    Raises
    ------
    UserError
        The common period is so long that the matrix would be huge.
    """

    def __init__(self, samples: int, rate_hz: int, wanted_hz: int) -> None:
        super().__init__()
        common = math.gcd(rate_hz, wanted_hz)
        periods = -(-_FEWEST_OUTPUTS * common // wanted_hz)
        self.hop = periods * rate_hz // common
        outputs = periods * wanted_hz // common
        block = max(d for d in range(1, _LARGEST_BLOCK + 1) if self.hop % d == 0)
        self.reach = -(-_reach(rate_hz, wanted_hz) // block) * block
        self.width = self.hop + 2 * self.reach
        if self.width * outputs > _LARGEST_TABLE:
            raise UserError(
                f"an encoder that hears {wanted_hz} Hz cannot be exported with a detector of "
                f"recordings at {rate_hz} Hz, as the table between these rates would be too large; "
                f"bring the recordings to {wanted_hz} Hz first, and train again"
            )
        self.length = resample(np.zeros((1, samples), np.float32), rate_hz, wanted_hz).shape[1]
        matrix = _answers(rate_hz, wanted_hz, self.hop, self.reach, outputs)
        self.register_buffer("matrix", torch.from_numpy(matrix))
        self.register_buffer("start", self._start(rate_hz, wanted_hz)[:samples])

    def forward(self, waves: Tensor) -> Tensor:
        """Shape (n, new samples)."""
        found = self._filtered(waves, self.length)
        start = self.get_buffer("start")
        if not start.shape[1]:
            return found
        first = found[:, : start.shape[1]] + waves[:, : start.shape[0]] @ start
        return torch.cat([first, found[:, start.shape[1] :]], dim=1)

    def _filtered(self, waves: Tensor, length: int) -> Tensor:
        matrix = self.get_buffer("matrix")
        count = -(-length // matrix.shape[1])
        after = max(0, count * self.hop + self.reach - waves.shape[1])
        padded = nn.functional.pad(waves, (self.reach, after))
        frames = framed(padded, self.width, self.hop)[:, :count]
        return (frames @ matrix).flatten(1)[:, :length]

    def _start(self, rate_hz: int, wanted_hz: int) -> Tensor:
        """What the first new samples have beyond the filter, shape (samples, new samples)."""
        heard = 2 * self.reach
        impulses = np.eye(heard, 2 * heard, dtype=np.float32)
        answers = torch.from_numpy(resample(impulses, rate_hz, wanted_hz))
        missing = answers - self._filtered(torch.from_numpy(impulses), answers.shape[1])
        missing = missing[:, : missing.shape[1] // 4]
        differ = (missing.abs().amax(dim=0) > _EQUAL).nonzero()
        return missing[:, : int(differ.max()) + 1 if len(differ) else 0].contiguous()


def _reach(rate_hz: int, wanted_hz: int) -> int:
    """Old samples on either side that a new one depends on."""
    middle = 4096 * max(1, -(-rate_hz // wanted_hz))
    impulse = np.zeros((1, 2 * middle), np.float32)
    impulse[0, middle] = 1
    answer = np.abs(resample(impulse, rate_hz, wanted_hz)[0])
    heard = np.flatnonzero(answer > _INAUDIBLE * answer.max())
    farthest = float(np.abs(heard * (rate_hz / wanted_hz) - middle).max())
    return math.ceil(farthest)


def _answers(
    rate_hz: int, wanted_hz: int, hop: int, reach: int, outputs: int
) -> NDArray[np.float32]:
    """New samples of some periods for each old one in and around them, shape (width, outputs)."""
    width = hop + 2 * reach
    before = -(-2 * reach // hop) + 1  # whole frames before, so that no end is near
    impulses = np.zeros((width, (2 * before + 1) * hop), np.float32)
    impulses[np.arange(width), before * hop - reach + np.arange(width)] = 1
    answers = resample(impulses, rate_hz, wanted_hz)
    return np.ascontiguousarray(answers[:, before * outputs : (before + 1) * outputs])


class FourierResampler(nn.Module):
    """Waves (n, samples) at another rate, as `asd.encoders.resampling.resampled` gives them.

    The way back from the spectrum is a Fourier transform, too: with H the real less the imaginary
    part of a real signal's spectrum (R. Bracewell, "Discrete Hartley transform", Journal of the
    Optical Society of America, 1983), the same of the spectrum of H is the signal, times its
    length.

    Parameters
    ----------
    samples
        Length of the waves.
    rate_hz, wanted_hz
        Their rate, and the new one.

    Raises
    ------
    UserError
        A length has no factor near its root.
    """

    def __init__(self, samples: int, rate_hz: int, wanted_hz: int) -> None:
        super().__init__()
        self.samples = samples
        self.length = resampled_length(samples, rate_hz, wanted_hz)
        self.kept = (min(samples, self.length) + 1) // 2
        self.there, self.back = clip_transform(samples), clip_transform(self.length)

    def forward(self, waves: Tensor) -> Tensor:
        """Shape (n, new samples)."""
        real, imaginary = (part[:, : self.kept] for part in self.there(waves))
        hartley = self._both_halves(real, imaginary)
        return self._both_halves(*self.back(hartley)) / self.samples

    def _both_halves(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """Real less imaginary part of all frequencies, of those from 0 up; missing ones are 0."""
        upper = (self.length + 1) // 2 - 1  # frequencies that stand again in the second half
        first, second = real - imaginary, (real + imaginary)[:, 1 : upper + 1]
        missing = self.length - first.shape[1] - second.shape[1]
        return torch.cat([nn.functional.pad(first, (0, missing)), second.flip(1)], dim=1)
