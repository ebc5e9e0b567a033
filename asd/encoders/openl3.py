"""OpenL3: a convolutional network trained to tell whether sound and picture belong together.

The network for environmental sound on 128 mel bands, with an embedding of 512 values. Sound at
48 kHz, in windows of 1 s every 0.1 s; before the clip stands half a second of silence. Each window
gives one token, so that the mean of the tokens is the published embedding of a clip.

Source: Cramer et al., "Look, listen, and learn more: design choices for deep audio embeddings",
ICASSP 2019; frames and padding as in torchopenl3.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pad

from asd.encoders.network import EncoderNetwork, TokenGrid, load_with_norm, norm_factors

_WINDOW, _STEP = 48000, 4800
_SILENCE = 24000
"""Samples of silence before a clip, so that its first half second is in the middle of a window."""
_TRANSFORM, _HOP, _MELS = 2048, 242, 128
_MISSING = _TRANSFORM - _WINDOW % _HOP
"""Zeros around a window, half of them before it, so that its frames fit."""
_FLOOR, _RANGE_DB = 1e-10, 80.0
_EPSILON = 1e-3
_CONVOLUTIONS = 7
_HALVED_AFTER = (2, 4, 6)
_WINDOWS_AT_ONCE = {"cpu": 4, "cuda": 128}
"""Windows that are computed together: on a CPU as few as leave all in its cache."""


class OpenL3(EncoderNetwork):
    """An OpenL3 checkpoint of torchopenl3.

    Nothing is trained here, so batch norms are folded into the convolutions before them.

    Parameters
    ----------
    weights
        Arrays by their published names.

    Raises
    ------
    KeyError, RuntimeError, ValueError
        The arrays are not those of such a network.
    """

    kind: ClassVar[str] = "OpenL3"
    rate_hz: ClassVar[int] = 48000

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        _check_filters(weights.get("speclayer.mel_basis"))
        convs = [
            _convolution(
                weights,
                f"conv2d_{number}",
                norm_factors(weights, f"batch_normalization_{number + 1}", _EPSILON),
            )
            for number in range(1, _CONVOLUTIONS + 1)
        ]
        last = _convolution(weights, "audio_embedding_layer", None)
        super().__init__(last.out_channels, 1, 1)
        self.convs = nn.ModuleList(convs)
        self.last = last
        scale, shift = norm_factors(weights, "batch_normalization_1", _EPSILON)
        self.register_buffer("scale", scale)  # zero padding follows, so that it cannot be folded
        self.register_buffer("shift", shift)
        self.register_buffer("window", torch.hann_window(_TRANSFORM), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def shortest(self) -> int:
        return 1

    @torch.no_grad()
    def features(self, waves: Tensor) -> Tensor:
        """Log-mels of the windows, shape (clips, windows, 128, 199).

        Power spectrum, triangles of sum 1 on the HTK mel scale from 0 to 24 kHz, the square root
        of their sums, 10 log10 of at least 1e-10 less the window's maximum, at least -80. (It is
        the published front end that takes 10 log10 of amplitudes.)
        """
        windows = _windows(waves)
        # Clip by clip: windows overlap in memory, and those of several would be copied at once.
        parts = (part for clip in windows for part in torch.split(clip, self._at_once))
        found = [self._log_mels(each) for each in parts]
        return torch.cat(found).view(*windows.shape[:2], _MELS, -1)

    def forward(self, features: Tensor, layer: int | None = None) -> TokenGrid:  # noqa: ARG002
        clips, windows = features.shape[:2]
        parts = torch.split(features.flatten(0, 1), self._at_once)
        found = [self._embeddings(each) for each in parts]
        return TokenGrid(torch.cat(found).view(clips, windows, 1, self.dim))

    @property
    def _at_once(self) -> int:
        return _WINDOWS_AT_ONCE[self.get_buffer("window").device.type]

    def _log_mels(self, windows: Tensor) -> Tensor:
        """Shape (n, 128, 199), of windows of shape (n, samples)."""
        padded = pad(windows, (_MISSING // 2, _MISSING - _MISSING // 2))
        spectrum = torch.stft(
            padded,
            _TRANSFORM,
            _HOP,
            window=self.get_buffer("window").float(),
            center=False,
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        mels = (_filters().to(windows.device) @ power).sqrt_()
        level = mels.clamp_(min=_FLOOR).log10_().mul_(10)
        found: Tensor = (level - level.amax(dim=(1, 2), keepdim=True)).clamp_(min=-_RANGE_DB)
        return found

    def _embeddings(self, log_mels: Tensor) -> Tensor:
        """Shape (n, dim), of log-mels of shape (n, 128, 199)."""
        x = (log_mels * self.get_buffer("scale") + self.get_buffer("shift")).unsqueeze(1)
        x = x.contiguous(memory_format=torch.channels_last)
        for number, conv in enumerate(self.convs, start=1):
            x = conv(x).relu_()
            if number in _HALVED_AFTER:
                x = max_pool2d(x, 2)
        found: Tensor = self.last(x).amax(dim=(2, 3))
        return found


def _windows(waves: Tensor) -> Tensor:
    """Windows of clips after silence, the last filled up, shape (clips, windows, 48000)."""
    length = _SILENCE + waves.shape[1]
    steps = max(0, -(-(length - _WINDOW) // _STEP))
    missing = _WINDOW + steps * _STEP - length
    return pad(waves, (_SILENCE, missing)).unfold(1, _WINDOW, _STEP)


def _convolution(
    weights: Mapping[str, Tensor], name: str, norm: tuple[Tensor, Tensor] | None
) -> nn.Conv2d:
    kernels = weights[f"{name}.weight"]
    conv = nn.Conv2d(kernels.shape[1], kernels.shape[0], 3, padding=1)
    load_with_norm(conv, kernels, weights[f"{name}.bias"], norm)
    return conv


def _check_filters(stored: Tensor | None) -> None:
    """Refuse the networks on 256 bands, which are shaped alike but for these filters."""
    if stored is not None and stored.shape[-2] != _MELS:
        raise ValueError(
            f"mel filters of shape {tuple(stored.shape)}: only networks on {_MELS} bands are read"
        )


@lru_cache(maxsize=1)
def _filters() -> Tensor:
    """Mel filters, shape (128, 1025): triangles linear in Hz, of sum 1, on the HTK mel scale.

    m = 2595 log10(1 + f / 700).
    """
    highest = 2595 * np.log10(1 + OpenL3.rate_hz / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, _MELS + 2) / 2595) - 1)
    away = np.subtract.outer(corners, np.fft.rfftfreq(_TRANSFORM, 1 / OpenL3.rate_hz))
    widths = np.diff(corners)[:, None]
    triangles = np.minimum(-away[:-2] / widths[:-1], away[2:] / widths[1:]).clip(min=0)
    return torch.from_numpy(triangles / triangles.sum(axis=1, keepdims=True)).float()
