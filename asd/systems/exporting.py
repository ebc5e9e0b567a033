"""Features as modules of operations that ONNX knows: no complex numbers, no Fourier transform.

Audio enters as waveforms of shape (n, samples) of one fixed length. The Fourier transform is made
of two small matrix products, see `FourierTransform`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd.audio.logmel import LogMel, LogMelParameters

_FLOOR = float(np.finfo(np.float64).eps)


class FourierTransform(nn.Module):
    """The discrete Fourier transform of real signals, as real and imaginary parts.

    J. Cooley and J. Tukey, "An algorithm for the machine calculation of complex Fourier series"
    (Mathematics of Computation, 1965), in two steps: a signal of length a * b is written into a
    table of b columns; its columns are transformed (length a), the values turned by the twiddle
    factors, its rows transformed (length b). For 1,024 = 32 * 32 that takes a fifth of the
    products of one large matrix, and a fiftieth of its memory.

    Parameters
    ----------
    length
        Length of the signals.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.columns = max(f for f in range(1, math.isqrt(length) + 1) if length % f == 0)
        self.rows = length // self.columns
        for name, size in (("row", self.rows), ("column", self.columns)):
            angle = -2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
            self._add(f"{name}_cos", np.cos(angle))
            self._add(f"{name}_sin", np.sin(angle))
        turn = -2 * np.pi * np.outer(np.arange(self.rows), np.arange(self.columns)) / length
        self._add("turn_cos", np.cos(turn))
        self._add("turn_sin", np.sin(turn))

    def _add(self, name: str, values: NDArray[np.float64]) -> None:
        self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """Frequencies 0 to length // 2 of signals (..., length), shape (..., length // 2 + 1)."""
        get = self.get_buffer
        # x[columns * i + j] stands in row i and column j; X[k + rows * l] in row k and column l.
        table = signals.reshape(*signals.shape[:-1], self.rows, self.columns)
        real, imaginary = get("row_cos") @ table, get("row_sin") @ table
        cos, sin = get("turn_cos"), get("turn_sin")
        real, imaginary = real * cos - imaginary * sin, real * sin + imaginary * cos
        cos, sin = get("column_cos"), get("column_sin")
        real, imaginary = real @ cos - imaginary @ sin, real @ sin + imaginary @ cos
        kept = self.length // 2 + 1
        parts = (part.transpose(-1, -2).flatten(-2)[..., :kept] for part in (real, imaginary))
        first, second = parts
        return first, second


class PowerSpectrogram(nn.Module):
    """Squared magnitudes of centred frames: (n, samples) to (n, frames, n_fft // 2 + 1).

    Parameters
    ----------
    window
        Shape (n_fft,).
    hop
        Samples between frames.
    reflects
        Whether waves are padded with themselves mirrored, else with zeros.
    """

    def __init__(self, window: Tensor, hop: int, reflects: bool = False) -> None:
        super().__init__()
        self.hop = hop
        self.mode = "reflect" if reflects else "constant"
        self.transform = FourierTransform(len(window))
        self.register_buffer("window", window.float())

    def forward(self, waves: Tensor) -> Tensor:
        """Waves are padded at both ends, so that frames are centred."""
        n_fft = self.transform.length
        padded = nn.functional.pad(waves, (n_fft // 2, n_fft // 2), mode=self.mode)
        frames = framed(padded, n_fft, self.hop) * self.get_buffer("window")
        real, imaginary = self.transform(frames)
        power: Tensor = real * real + imaginary * imaginary
        return power


def framed(waves: Tensor, width: int, hop: int) -> Tensor:
    """Frames of waves (n, samples), shape (n, frames, width), made of blocks side by side."""
    count = (waves.shape[1] - width) // hop + 1
    block = math.gcd(width, hop)
    step = hop // block
    needed = (count - 1) * step + width // block
    blocks = waves[:, : needed * block].reshape(-1, needed, block)
    parts = [blocks[:, i : i + (count - 1) * step + 1 : step] for i in range(width // block)]
    return torch.cat(parts, dim=2)


def windowed(frames: Tensor, width: int, hop: int) -> Tensor:
    """Windows of frames (n, frames, mels), shape (n, windows, width * mels)."""
    last = frames.shape[1] - width
    return torch.cat([frames[:, k : k + last + 1 : hop] for k in range(width)], dim=2)


class LogMelFrames(nn.Module):
    """Log-mel frames in dB as `asd.audio.logmel` computes them, in single precision.

    Parameters
    ----------
    parameters
        Of the spectrogram.
    rate_hz
        Sampling rate of the waveforms.
    """

    def __init__(self, parameters: LogMelParameters, rate_hz: int) -> None:
        super().__init__()
        exact = LogMel(parameters, rate_hz)
        self.power = parameters.power
        self.spectrogram = PowerSpectrogram(torch.from_numpy(exact.window), parameters.hop_length)
        self.register_buffer("mel", torch.from_numpy(exact.filters.T.copy()))

    def forward(self, waves: Tensor) -> Tensor:
        """From (n, samples) to (n, frames, mels)."""
        magnitudes = self.spectrogram(waves)
        if self.power != 2.0:
            magnitudes = magnitudes ** (self.power / 2)
        mel = (magnitudes @ self.get_buffer("mel")).clamp_min(_FLOOR)
        decibels: Tensor = mel.log() * (20.0 / self.power / math.log(10.0))
        return decibels


def folded(layers: Sequence[nn.Module]) -> nn.Sequential:
    """Layers with every batch normalisation taken into the linear layer before it."""
    found: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm1d) and found and isinstance(found[-1], nn.Linear):
            found[-1] = _with_norm(found[-1], layer)
        else:
            found.append(layer)
    return nn.Sequential(*found)


def _with_norm(linear: nn.Linear, norm: nn.BatchNorm1d) -> nn.Linear:
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = (norm.weight.double() / (variance.double() + norm.eps).sqrt()).detach()
    merged = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        merged.weight.copy_(linear.weight.double() * scale[:, None])
        merged.bias.copy_((linear.bias.double() - mean.double()) * scale + norm.bias.double())
    return merged
