"""Spectra of batches of waveforms; nothing here is learned.

Waveforms have shape (clips, samples). Spectrograms are magnitudes (power 1) without logarithm:
periodic Hann window of n_fft samples, hop n_fft / 2, centred frames with zero or reflecting
padding, divided by the window's L2 norm.
"""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Padding = Literal["zeros", "reflect"]
"""What stands before the first sample and after the last: silence, or the wave mirrored."""


def bin_range(n_fft: int, low_hz: float, high_hz: float, sample_rate_hz: int) -> tuple[int, int]:
    """First bin at or above `low_hz`, and the bin after the last one at or below `high_hz`."""
    first = math.ceil(low_hz * n_fft / sample_rate_hz)
    last = math.floor(high_hz * n_fft / sample_rate_hz)
    return first, min(last, n_fft // 2) + 1


def frame_count(samples: int, n_fft: int) -> int:
    """Number of frames of a clip of that many samples."""
    return 1 + samples // (n_fft // 2)


def spectrogram(waves: Tensor, window: Tensor, padding: Padding = "zeros") -> Tensor:
    """Magnitudes, shape (clips, n_fft / 2 + 1, frames); memory holds frame after frame.

    Parameters
    ----------
    window
        As `spectrogram_window` makes it; its length is n_fft.
    """
    n_fft = len(window)
    mode = "reflect" if padding == "reflect" else "constant"
    spectra: Tensor = torch.stft(
        waves, n_fft, n_fft // 2, window=window, pad_mode=mode, return_complex=True
    )
    return _magnitudes(spectra)


def spectrogram_window(n_fft: int) -> Tensor:
    """The Hann window divided by its L2 norm, shape (n_fft,)."""
    window = torch.hann_window(n_fft)
    return window / window.square().sum().sqrt()


def clip_spectrum(waves: Tensor) -> Tensor:
    """Magnitudes of the Fourier transform of whole clips, shape (clips, samples // 2 + 1)."""
    spectra: Tensor = torch.fft.rfft(waves)
    return _magnitudes(spectra)


def _magnitudes(spectra: Tensor) -> Tensor:
    """|spectra|; NumPy's vectorised loop takes a tenth of the time of PyTorch 2.13's on a CPU."""
    if spectra.device.type == "cpu" and not spectra.requires_grad:
        return torch.from_numpy(np.abs(spectra.numpy()))
    return spectra.abs()


def mel_filters(n_fft: int, bands: int, high_hz: float, sample_rate_hz: int) -> Tensor:
    """Triangles on the HTK mel scale from 0 Hz to `high_hz`, of height 1 (no area normalisation).

    m = 2595 log10(1 + f / 700); each band rises from the centre before it and falls to the next.

    Returns
    -------
    Tensor
        Shape (n_fft / 2 + 1, bands).
    """
    highest_mel = 2595 * math.log10(1 + high_hz / 700)
    mels = torch.linspace(0, highest_mel, bands + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mels / 2595) - 1)
    bins = torch.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp_min(0).float()
