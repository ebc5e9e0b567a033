"""The mel scale, and what a spectrogram on it is made of.

Written here because importing librosa takes longer than scoring a minute of sound; every value
equals librosa's (0.11) to the last bit, which the tests see to.

Sources: M. Slaney, "Auditory Toolbox", technical report 1998-010, Interval Research, 1998: linear
below 1000 Hz, logarithmic above, 27 steps for a factor of 6.4.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_HZ_PER_MEL = 200.0 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_STEP = np.log(6.4) / 27.0


def hz_to_mel(hz: ArrayLike) -> NDArray[np.float64]:
    """Frequencies on Slaney's mel scale."""
    values = np.asarray(hz, dtype=np.float64)
    above = np.maximum(values, _KNEE_HZ)
    return np.where(
        values >= _KNEE_HZ, _KNEE_MEL + np.log(above / _KNEE_HZ) / _STEP, values / _HZ_PER_MEL
    )


def mel_to_hz(mel: ArrayLike) -> NDArray[np.float64]:
    """Frequencies in Hz of places on Slaney's mel scale."""
    values = np.asarray(mel, dtype=np.float64)
    above = np.maximum(values, _KNEE_MEL)
    return np.where(
        values >= _KNEE_MEL, _KNEE_HZ * np.exp(_STEP * (above - _KNEE_MEL)), _HZ_PER_MEL * values
    )


def mel_frequencies(count: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Frequencies from `low_hz` to `high_hz`, both among them, equally far apart in mel."""
    return mel_to_hz(np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), count))


def mel_filters(
    rate_hz: float, n_fft: int, bands: int, low_hz: float, high_hz: float
) -> NDArray[np.float32]:
    """Triangles of area 1 Hz each, half overlapping, shape (bands, n_fft // 2 + 1).

    A band that lies between two frequencies of the Fourier transform is empty.
    """
    points = mel_frequencies(bands + 2, low_hz, high_hz)
    slopes = np.subtract.outer(points, np.fft.rfftfreq(n_fft, 1.0 / rate_hz))
    widths = np.diff(points)[:, None]
    rising, falling = -slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]
    triangles: NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    triangles *= (2.0 / (points[2:] - points[:-2]))[:, None]
    return triangles


def hann_window(length: int, n_fft: int) -> NDArray[np.float64]:
    """Periodic Hann window, with zeros on both sides where it is shorter than `n_fft`."""
    phases = np.linspace(-np.pi, np.pi, length + 1)[:-1]
    window = np.zeros(n_fft)
    before = (n_fft - length) // 2
    window[before : before + length] = 0.5 + 0.5 * np.cos(phases) if length > 1 else 1.0
    return window
