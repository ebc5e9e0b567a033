"""CNN14: a convolutional network on log-mel spectrograms, trained to tag AudioSet (PANNs).

Sound at 32 kHz. Tokens are the last feature map. The published embedding is not their mean: it is
the maximum plus the mean over time of the map's mean over frequency, then a linear layer and ReLU,
and is given as the class token. Widths come from the checkpoint.

Source: Kong et al., "PANNs: Large-scale pretrained audio neural networks for audio pattern
recognition", IEEE/ACM TASLP 2020, table 1 and section IV.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from asd.audio.mel import mel_filters
from asd.encoders.network import EncoderNetwork, TokenGrid, load_with_norm, norm_factors
from asd.products import Linear

_TRANSFORM, HOP, _MELS = 1024, 320, 64
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 14000.0
_FLOOR = 1e-10
_EPSILON = 1e-5
_BLOCKS = 6
_HALVED = 1 << (_BLOCKS - 1)
"""By what the blocks divide frames and bands: the last one does not."""


class Cnn14(EncoderNetwork):
    """The feature maps of a CNN14 checkpoint and its embedding, without the classifier.

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

    kind: ClassVar[str] = "CNN14"
    rate_hz: ClassVar[int] = 32000
    has_inner_class_tokens: ClassVar[bool] = False

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        _check_filters(weights.get("logmel_extractor.melW"))
        blocks = [_Block(weights, f"conv_block{number + 1}") for number in range(_BLOCKS)]
        outputs, inputs = weights["fc1.weight"].shape
        if outputs != inputs:
            raise ValueError(f"an embedding of {outputs} values from {inputs} channels")
        super().__init__(inputs, _MELS // _HALVED, _BLOCKS)
        self.blocks = nn.ModuleList(blocks)
        self.fc1 = Linear(inputs, outputs)
        self.fc1.load_state_dict({part: weights[f"fc1.{part}"] for part in ("weight", "bias")})
        scale, shift = norm_factors(weights, "bn0", _EPSILON)
        if scale.shape != (_MELS,):
            raise ValueError(f"a batch norm of {len(scale)} bands in place of {_MELS}")
        self.register_buffer("scale", scale)  # zero padding follows, so that it cannot be folded
        self.register_buffer("shift", shift)
        self.register_buffer("window", torch.hann_window(_TRANSFORM), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def shortest(self) -> int:
        return (_HALVED - 1) * HOP

    @property
    def has_class_token(self) -> bool:
        return True

    @torch.no_grad()
    def features(self, waves: Tensor) -> Tensor:
        """Log-mels in dB, shape (clips, frames, 64), a frame every 10 ms.

        Power spectrum with mirrored ends, area-normalised triangles on Slaney's mel scale from 50
        Hz to 14 kHz, 10 log10 of at least 1e-10.
        """
        spectrum = torch.stft(
            waves,
            _TRANSFORM,
            HOP,
            window=self.get_buffer("window").float(),
            pad_mode="reflect",
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return self.normalised(band_filters().T.to(waves.device) @ power).transpose(1, 2)

    @staticmethod
    def normalised(mels: Tensor) -> Tensor:
        """Mel powers, which are overwritten, in dB."""
        return mels.clamp_(min=_FLOOR).log10_().mul_(10)

    def forward(self, features: Tensor, layer: int | None = None) -> TokenGrid:
        x = features * self.get_buffer("scale") + self.get_buffer("shift")
        x = x.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        last = layer or self.layers
        for number, block in enumerate(self.blocks[:last], start=1):
            x = block(x)
            if number < self.layers:
                x = avg_pool2d(x, 2)
        is_whole = last == self.layers
        return TokenGrid(x.permute(0, 2, 3, 1), self._embedding(x) if is_whole else None)

    def _embedding(self, x: Tensor) -> Tensor:
        """The published embedding, (clips, dim), of the last map, (clips, dim, time, bands)."""
        by_time = x.mean(dim=3)
        found: Tensor = self.fc1(by_time.amax(dim=2) + by_time.mean(dim=2)).relu()
        return found


class _Block(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU.

    Parameters
    ----------
    weights, name
        Arrays `<name>.conv1.weight`, `<name>.bn1.*`, and those of the second.
    """

    def __init__(self, weights: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        convs = []
        for number in (1, 2):
            kernels = weights[f"{name}.conv{number}.weight"]
            conv = nn.Conv2d(kernels.shape[1], kernels.shape[0], 3, padding=1)
            load_with_norm(conv, kernels, None, norm_factors(weights, f"{name}.bn{number}"))
            convs.append(conv)
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x).relu_()
        return x


def _check_filters(stored: Tensor | None) -> None:
    """Refuse weights of the networks for 8 and 16 kHz, which are shaped alike but for these."""
    expected = (_TRANSFORM // 2 + 1, _MELS)
    if stored is not None and stored.shape != expected:
        raise ValueError(
            f"mel filters of shape {tuple(stored.shape)} in place of {expected}: only CNN14 for "
            "32 kHz is read"
        )


@lru_cache(maxsize=1)
def band_filters() -> Tensor:
    """Mel filters, shape (513, 64)."""
    filters = mel_filters(Cnn14.rate_hz, _TRANSFORM, _MELS, _LOWEST_HZ, _HIGHEST_HZ)
    return torch.from_numpy(filters).T
