"""EfficientAT: MobileNetV3 (large) on log-mel spectrograms, trained to tag AudioSet.

Sound at 32 kHz. Tokens are the last feature map, whose mean over time and frequency is the
published embedding. Widths come from the checkpoint, kernels too; strides and activations are
those of MobileNetV3, which no array shows.

Source: Schmid et al., "Efficient large-scale audio tagging via Transformer-to-CNN knowledge
distillation", ICASSP 2023; Howard et al., "Searching for MobileNetV3", ICCV 2019, table 1.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import hardswish, pad, relu

from asd.encoders.filterbank import mel_filters
from asd.encoders.network import EncoderNetwork, TokenGrid, load_with_norm, norm_factors
from asd.products import linear

_TRANSFORM, _WINDOW, HOP, _MELS = 1024, 800, 320, 128
_HIGHEST_HZ = 15000.0
"""As upstream; half the rate less 1 kHz."""

_BLOCKS = (  # stride, and whether the activation is hard-swish
    (1, False), (2, False), (1, False), (2, False), (1, False), (1, False),
    (2, True), (1, True), (1, True), (1, True), (1, True), (1, True),
    (2, True), (1, True), (1, True),
)  # fmt: skip
_NORM_EPSILON = 1e-3
_LAST = len(_BLOCKS) + 1
_TOTAL_STRIDE = 32
_EXCITE = "conc_se_layers.0"

Activation = Callable[..., Tensor]


class EfficientAt(EncoderNetwork):
    """The feature maps of an EfficientAT checkpoint, without its classifier.

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

    kind: ClassVar[str] = "EfficientAT"
    rate_hz: ClassVar[int] = 32000
    gains_from_bfloat16: ClassVar[bool] = False

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        stem = _Convolution(weights, "features.0", stride=2, activation=hardswish)
        blocks = [
            _Block(weights, f"features.{number}.block", stride, hardswish if is_swish else relu)
            for number, (stride, is_swish) in enumerate(_BLOCKS, start=1)
        ]
        head = _Convolution(weights, f"features.{_LAST}", activation=hardswish)
        super().__init__(head.conv.out_channels, _MELS // _TOTAL_STRIDE, _LAST + 1)
        self.maps = nn.ModuleList([stem, *blocks, head])
        window = torch.hann_window(_WINDOW, periodic=False)
        side = (_TRANSFORM - _WINDOW) // 2
        self.register_buffer("window", pad(window, (side, side)), persistent=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def shortest(self) -> int:
        return _TRANSFORM // 2 + 2  # the ends are mirrored, after a sample went to pre-emphasis

    def time_steps(self, samples: int) -> int:
        frames = 1 + (samples - 1) // HOP  # pre-emphasis takes a sample
        return -(-frames // _TOTAL_STRIDE)

    @torch.no_grad()
    def features(self, waves: Tensor) -> Tensor:
        """Normalised log-mels, shape (clips, 128, frames), a frame every 10 ms.

        Pre-emphasis 0.97 over the whole clip, power spectrum with mirrored ends, Kaldi's mel
        triangles from 0 to 15 kHz, ln(x + 1e-5), (x + 4.5) / 5.
        """
        waves = self.emphasised(waves)
        window = self.get_buffer("window").float()
        spectrum = torch.stft(
            waves, _TRANSFORM, HOP, window=window, pad_mode="reflect", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return self.normalised(band_filters().to(waves.device).T @ power)

    @staticmethod
    def emphasised(waves: Tensor) -> Tensor:
        """Waves (clips, samples) after pre-emphasis, a sample shorter."""
        return waves[:, 1:] - 0.97 * waves[:, :-1]

    @staticmethod
    def normalised(mels: Tensor) -> Tensor:
        """Mel powers, which are overwritten, as the network is given them."""
        return mels.add_(1e-5).log_().add_(4.5).div_(5)

    def forward(self, features: Tensor, layer: int | None = None) -> TokenGrid:
        x = features.unsqueeze(1)
        x = x.contiguous(memory_format=torch.channels_last)
        for module in self.maps[: layer or self.layers]:
            x = module(x)
        return TokenGrid(x.permute(0, 3, 2, 1))


def band_filters() -> Tensor:
    """Kaldi's mel triangles from 0 to 15 kHz, shape (513, 128)."""
    return mel_filters(_MELS, _TRANSFORM, EfficientAt.rate_hz, 0.0, _HIGHEST_HZ)


class _Convolution(nn.Module):
    """Convolution and activation; padding keeps the size, a stride divides it.

    Parameters
    ----------
    weights, name
        Arrays `<name>.0.*` of the convolution, `<name>.1.*` of its batch norm.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        name: str,
        stride: int = 1,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        kernels = weights[f"{name}.0.weight"]
        outputs, inputs, size, _ = kernels.shape
        # Depthwise: each output hears one input. The stem, too, hears one, of one channel.
        is_depthwise = inputs == 1 and name != "features.0"
        self.conv = nn.Conv2d(
            outputs if is_depthwise else inputs,
            outputs,
            size,
            stride,
            padding=(size - 1) // 2,
            groups=outputs if is_depthwise else 1,
        )
        norm = norm_factors(weights, f"{name}.1", _NORM_EPSILON)
        load_with_norm(self.conv, kernels, None, norm)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.kernel_size == (1, 1):
            # A product of matrices, as channels come last: PyTorch's way on one thread copies.
            weight = self.conv.weight.flatten(1)
            x = linear(x.permute(0, 2, 3, 1).to(weight), weight, self.conv.bias)
            x = x.permute(0, 3, 1, 2)
        else:
            x = self.conv(x)
        found: Tensor = x if self.activation is None else self.activation(x, inplace=True)
        return found


class _SqueezeExcite(nn.Module):
    """A factor in (0, 1) for each channel, from the channels' means (Hu et al., CVPR 2018)."""

    def __init__(self, weights: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        hidden, channels = weights[f"{name}.fc1.weight"].shape
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        for layer, module in (("fc1", self.fc1), ("fc2", self.fc2)):
            module.load_state_dict(
                {part: weights[f"{name}.{layer}.{part}"] for part in ("weight", "bias")}
            )

    def forward(self, x: Tensor) -> Tensor:
        factors = self.fc2(relu(self.fc1(x.mean(dim=(2, 3))))).sigmoid()
        found: Tensor = x * factors[:, :, None, None]
        return found


class _Block(nn.Module):
    """Widen, convolve each channel alone, weigh the channels, narrow; a bridge where it fits.

    Parameters
    ----------
    weights, name
        Arrays `<name>.<step>.*`; the first block has no step that widens.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], name: str, stride: int, activation: Activation
    ) -> None:
        super().__init__()
        steps = sorted({key[len(name) + 1 :].split(".")[0] for key in weights
                        if key.startswith(f"{name}.")}, key=int)  # fmt: skip
        if not steps:
            raise ValueError(f"{name} is missing")
        modules: list[nn.Module] = []
        for step in steps:
            inner = f"{name}.{step}"
            if f"{inner}.{_EXCITE}.fc1.weight" in weights:
                modules.append(_SqueezeExcite(weights, f"{inner}.{_EXCITE}"))
                continue
            is_depthwise = weights[f"{inner}.0.weight"].shape[1] == 1
            is_last = step == steps[-1]
            modules.append(
                _Convolution(
                    weights, inner, stride if is_depthwise else 1, None if is_last else activation
                )
            )
        self.steps = nn.ModuleList(modules)
        first, last = modules[0], modules[-1]
        if not isinstance(first, _Convolution) or not isinstance(last, _Convolution):
            raise ValueError("a block that does not begin and end with a convolution")
        self.has_bridge = stride == 1 and first.conv.in_channels == last.conv.out_channels

    def forward(self, x: Tensor) -> Tensor:
        found = x
        for step in self.steps:
            found = step(found)
        return found + x if self.has_bridge else found
