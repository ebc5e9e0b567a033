"""Noise taken off a near channel by what a far one hears (DCASE 2026: left near, right far).

All works on one recording, so that training and test clips are treated alike.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Complex = NDArray[np.complex128]

SHORTEST = 1024
"""Samples of the shortest clip: with fewer, a filter fits anything."""

_LEAST_COVER = 0.1
"""Sum of squared windows below which a sample is not trusted to them: its error would grow."""


def cancel(near: Array, far: Array) -> NDArray[np.float64]:
    """The near channel without what one filter for the clip makes of the far channel.

    With C and F the spectra of near and far in frame t and bin f (periodic Hann window of 1,024
    samples, step 512, reflected at the ends):

        H[f] = sum_t C[f, t] conj(F[f, t]) / (sum_t |F[f, t]|² + 1e-12)
        Y[f, t] = C[f, t] - H[f] F[f, t]

    H is the complex least-squares solution; each clip and bin has its own. Both channels are first
    brought to a common peak of 0.9, which is undone at the end. What the far channel hears of the
    machine itself is taken off too. Source: linear cancellation of the DCASE 2026 Challenge
    (Ozeki et al.; "W1" of kasahart/asd-experiments).

    Parameters
    ----------
    near, far
        Shape (samples,), full scale 1; at least `SHORTEST` samples.

    Returns
    -------
    NDArray
        Shape (samples,).
    """
    peak = max(np.abs(near).max(), np.abs(far).max())
    if peak == 0:
        return np.zeros(len(near))
    frames = _Frames(len(near), 1024)
    c, f = (frames.spectra(channel * (0.9 / peak)) for channel in (near, far))
    known = frames.count
    product = (c[:known] * f[:known].conj()).sum(axis=0)
    transfer = product / (np.square(np.abs(f[:known])).sum(axis=0) + 1e-12)
    left = frames.samples(c - transfer * f)
    left *= peak / 0.9
    return left


def subtract(near: Array, far: Array) -> NDArray[np.float64]:
    """The near channel with the far channel's magnitudes taken off its own.

    |Y| = |C| - |F| where that is above 0, else 0.1 |C|, with the phase of C; periodic Hann window
    of 512 samples, step 256. Source: Qian et al. of the DCASE 2026 Challenge, equation 1, as
    kasahart/asd-experiments restates it.

    Parameters
    ----------
    near, far
        Shape (samples,), full scale 1; at least `SHORTEST` samples.

    Returns
    -------
    NDArray
        Shape (samples,).
    """
    frames = _Frames(len(near), 512)
    c, f = frames.spectra(near), frames.spectra(far)
    own, other = np.abs(c), np.abs(f)
    left = np.where(own > other, own - other, 0.1 * own)
    return frames.samples(c * (left / np.where(own > 0, own, 1)))


class _Frames:
    """Short-time Fourier transform of a clip and back, frames centred on multiples of the step.

    Frames reach half a window beyond either end, as in PyTorch and librosa. Where the last one
    leaves samples to the edge of its window, one more, which is not counted, helps the way back.

    Parameters
    ----------
    n_samples
        Length of the clip.
    n_fft
        Length of the window, twice the step.
    """

    def __init__(self, n_samples: int, n_fft: int) -> None:
        self.n_samples = n_samples
        self.n_fft = n_fft
        self.step = n_fft // 2
        self.count = 1 + n_samples // self.step
        self.window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)

    def spectra(self, samples: Array) -> Complex:
        """Shape (count + 1, bins)."""
        end = (self.count - 1) * self.step + self.n_fft + self.step
        after = end - self.step - self.n_samples
        padded = np.pad(samples.astype(np.float64), (self.step, after), "reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.step]
        found: Complex = np.fft.rfft(frames * self.window)
        return found

    def samples(self, spectra: Complex) -> NDArray[np.float64]:
        """Weighted overlap-add, shape (n_samples,)."""
        frames = np.fft.irfft(spectra, self.n_fft) * self.window
        total, cover = self._added(frames[:-1], np.square(self.window))
        weak = cover < _LEAST_COVER
        last = slice((len(frames) - 1) * self.step, None)
        extra, extra_cover = np.zeros_like(total), np.zeros_like(cover)
        extra[last] += frames[-1]
        extra_cover[last] += np.square(self.window)
        total[weak] += extra[weak]
        cover[weak] += extra_cover[weak]
        own = slice(self.step, self.step + self.n_samples)
        found: NDArray[np.float64] = total[own] / cover[own]
        return found

    def _added(
        self, frames: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Overlapping frames and weights added up; room for one more frame."""
        halves = (len(frames) + 2, self.step)
        total, cover = np.zeros(halves), np.zeros(halves)
        for half in (0, 1):
            part = slice(half * self.step, (half + 1) * self.step)
            total[half : half + len(frames)] += frames[:, part]
            cover[half : half + len(frames)] += weights[part]
        return total.ravel(), cover.ravel()
