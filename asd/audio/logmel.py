"""Log-mel spectrograms, equal to the public baseline's."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.audio.mel import hann_window, mel_filters
from asd.errors import UserError

_FLOOR = float(np.finfo(np.float64).eps)

_BLOCK = 64
"""Frames transformed together, in memory that is reused: few enough to stay in cache."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogMelParameters:
    """Parameters of a log-mel spectrogram, named as in librosa.

    Parameters
    ----------
    n_mels
        Number of mel bands.
    n_fft, hop_length
        Length of the Fourier transform, and step between frames, in samples.
    power
        Exponent of the magnitudes: 1 for amplitude, 2 for power.
    fmin, fmax
        Lowest and highest frequency in Hz; None is half the sampling rate.
    win_length
        Length of the window in samples; None is `n_fft`.
    """

    n_mels: int = 128
    n_fft: int = 1024
    hop_length: int = 512
    power: float = 2.0
    fmin: float = 0.0
    fmax: float | None = None
    win_length: int | None = None

    def frame_count(self, samples: int) -> int:
        """Number of frames of a clip of that many samples.

        The clip is padded with `n_fft` // 2 zeros at both ends; an odd `n_fft` lacks one.
        """
        return 1 + (samples - self.n_fft % 2) // self.hop_length


class LogMel:
    """Computes log-mel frames; windows and filters are made once.

    Periodic Hann window, centred frames with zero padding, |STFT|^power, area-normalised
    triangles on Slaney's mel scale, then (20 / power) * log10 of at least 2.2e-16. The same
    operations in the same precision as librosa 0.11 (the Fourier transform in float64, all that
    follows in float32), so that frames equal the public baseline's to the last bit: training
    magnifies a difference of one bit to percents within a few epochs.

    Raises
    ------
    UserError
        `fmin` or `fmax` lies above what the sampling rate can hold, or there are more mel bands
        than frequencies of the Fourier transform.
    """

    def __init__(self, parameters: LogMelParameters, sample_rate_hz: int) -> None:
        p = parameters
        self.parameters = parameters
        self._window = hann_window(p.win_length or p.n_fft, p.n_fft)
        self._mel = _mel_filters(p, sample_rate_hz)

    @property
    def window(self) -> NDArray[np.float64]:
        """What each frame is multiplied by, shape (n_fft,)."""
        return self._window

    @property
    def filters(self) -> NDArray[np.float32]:
        """The mel filters, shape (mels, n_fft // 2 + 1)."""
        return self._mel

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-mel frames in dB, shape (frames, mels), of samples of shape (samples,)."""
        p = self.parameters
        padded = np.pad(samples, p.n_fft // 2)
        frames = np.lib.stride_tricks.sliding_window_view(padded, p.n_fft)[:: p.hop_length]
        mel = self._mel @ self._magnitudes(frames).T  # transposed operands change the last bits
        decibels = (20.0 / p.power) * np.log10(np.maximum(mel, _FLOOR))
        return np.ascontiguousarray(decibels.T)

    def _magnitudes(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """|Fourier transform|^power of each frame, shape (frames, n_fft // 2 + 1)."""
        power, bins = self.parameters.power, self.parameters.n_fft // 2 + 1
        magnitudes = np.empty((len(frames), bins), dtype=np.float32)
        windowed = np.empty((_BLOCK, self.parameters.n_fft))
        exact = np.empty((_BLOCK, bins), dtype=np.complex128)
        rounded = np.empty((_BLOCK, bins), dtype=np.complex64)
        for first in range(0, len(frames), _BLOCK):
            block = magnitudes[first : first + _BLOCK]
            n = len(block)
            np.multiply(frames[first : first + n], self._window, out=windowed[:n])
            rounded[:n] = np.fft.rfft(windowed[:n], out=exact[:n])
            np.abs(rounded[:n], out=block)
            block **= power
        return magnitudes


def _mel_filters(p: LogMelParameters, sample_rate_hz: int) -> NDArray[np.float32]:
    """Mel filters of shape (mels, n_fft // 2 + 1)."""
    _check_bands(p, sample_rate_hz / 2)
    highest = sample_rate_hz / 2 if p.fmax is None else p.fmax
    filters = mel_filters(sample_rate_hz, p.n_fft, p.n_mels, p.fmin, highest)
    if empty := int(np.sum(~filters.any(axis=1))):
        log.warning(
            "%d of %d mel bands lie between two frequencies of the Fourier transform and stay "
            "empty; set fewer --n_mels or a longer --n_fft", empty, p.n_mels,
        )  # fmt: skip
    return filters


def _check_bands(p: LogMelParameters, highest_hz: float) -> None:
    if p.fmin >= highest_hz:
        raise UserError(
            f"--fmin: expected less than half the sampling rate ({highest_hz:g} Hz), got {p.fmin:g}"
        )
    if p.fmax is not None and p.fmax > highest_hz:
        raise UserError(
            f"--fmax: expected at most half the sampling rate ({highest_hz:g} Hz), got {p.fmax:g}"
        )
    frequencies = p.n_fft // 2 + 1
    if p.n_mels > frequencies:
        raise UserError(
            f"--n_mels: expected at most the {frequencies} frequencies of --n_fft {p.n_fft}, "
            f"got {p.n_mels}"
        )
