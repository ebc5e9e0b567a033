"""Log-mel spectrograms, equal to the public baseline's."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

_FLOOR = float(np.finfo(np.float64).eps)


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
        """Number of frames of a clip of that many samples."""
        return 1 + samples // self.hop_length


class LogMel:
    """Computes log-mel frames; windows and filters are made once.

    Periodic Hann window, centred frames with zero padding, |STFT|^power, area-normalised
    triangles on Slaney's mel scale, then (20 / power) * log10 of at least 2.2e-16: what
    librosa 0.11 gives with the public baseline's settings, in float32.
    """

    def __init__(self, parameters: LogMelParameters, sample_rate_hz: int) -> None:
        import librosa.filters  # takes a second, which only those who compute features should pay

        p = parameters
        window = librosa.filters.get_window("hann", p.win_length or p.n_fft, fftbins=True)
        window = librosa.util.pad_center(window, size=p.n_fft)
        mel = librosa.filters.mel(
            sr=sample_rate_hz, n_fft=p.n_fft, n_mels=p.n_mels, fmin=p.fmin, fmax=p.fmax
        )
        self.parameters = parameters
        self._window = torch.from_numpy(window.astype(np.float32))
        self._mel = torch.from_numpy(np.ascontiguousarray(mel.T, dtype=np.float32))

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log-mel frames in dB, shape (frames, mels), of samples of shape (samples,)."""
        p = self.parameters
        pad = p.n_fft // 2
        padded = torch.nn.functional.pad(torch.from_numpy(samples), (pad, pad))
        frames = padded.unfold(0, p.n_fft, p.hop_length) * self._window
        spectrum = torch.view_as_real(torch.fft.rfft(frames))
        magnitudes = spectrum.square().sum(-1)  # |STFT|^2, (frames, n_fft / 2 + 1)
        if p.power != 2.0:
            magnitudes = magnitudes.pow_(p.power / 2)
        mel = (magnitudes @ self._mel).clamp_min_(_FLOOR)
        decibels: NDArray[np.float32] = mel.log10_().mul_(20.0 / p.power).numpy()
        return decibels
