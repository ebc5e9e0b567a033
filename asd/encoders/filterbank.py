"""Kaldi's mel filter bank, on which BEATs, EAT and EfficientAT hear.

Frames of 25 ms every 10 ms where they fit whole; of each the mean is taken off, then pre-emphasis
0.97 (the first sample counts as its own predecessor), window, Fourier transform of 512, power,
triangles on the mel scale 1127 ln(1 + f / 700), natural logarithm of at least 1.19e-7.

Source: Kaldi's feature-window.cc and mel-computations.cc, as torchaudio.compliance.kaldi has them
by default.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

RATE_HZ = 16000
FRAME = 400
"""Samples of a frame."""
SHIFT = 160
"""Samples from one frame to the next."""
BANDS = 128

TRANSFORM = 512
EMPHASIS = 0.97
FLOOR = float(np.finfo(np.float32).eps)
"""Least power in a band."""

WindowName = Literal["povey", "hann"]
"""Kaldi's own window, Hann to the power of 0.85, or Hann itself; both symmetric."""


def frame_count(samples: int) -> int:
    """Number of whole frames in a clip."""
    return max(0, 1 + (samples - FRAME) // SHIFT)


def log_mel_frames(waves: Tensor, window: WindowName) -> Tensor:
    """Log-mel frames of waves at 16 kHz.

    Parameters
    ----------
    waves
        Shape (clips, samples), float32.

    Returns
    -------
    Tensor
        Shape (clips, frames, 128).
    """
    frames = waves.unfold(1, FRAME, SHIFT)
    frames = frames - frames.mean(dim=2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
    shaped = (frames - EMPHASIS * before) * frame_window(window).to(waves.device)
    power = torch.fft.rfft(shaped, n=TRANSFORM).abs().square()
    found: Tensor = (power @ band_filters().to(waves.device)).clamp_(min=FLOOR).log_()
    return found


def band_filters() -> Tensor:
    """The triangles of `log_mel_frames`, shape (257, 128)."""
    return mel_filters(BANDS, TRANSFORM, RATE_HZ, 20.0, RATE_HZ / 2)


@lru_cache(maxsize=8)
def mel_filters(bands: int, transform: int, rate_hz: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangles on the mel axis, not normalised; the bin at half the rate counts for none.

    Returns
    -------
    Tensor
        Shape (transform // 2 + 1, bands), float32.
    """
    low, high = _mel(np.array([low_hz, high_hz]))
    edges = np.linspace(low, high, bands + 2)
    bins = _mel(np.arange(transform // 2) * rate_hz / transform)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return pad(torch.from_numpy(weights).float(), (0, 0, 0, 1))


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1127.0 * np.log1p(hz / 700.0)
    return found


@lru_cache(maxsize=2)
def frame_window(name: WindowName) -> Tensor:
    """The window of a frame, shape (400,)."""
    hann = torch.hann_window(FRAME, periodic=False, dtype=torch.float64)
    return (hann**0.85 if name == "povey" else hann).float()
