"""What the networks of all encoders have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor, nn


class TokenGrid(NamedTuple):
    """What an encoder makes of clips.

    Parameters
    ----------
    tokens
        Shape (clips, time, bands, dim).
    class_token
        Shape (clips, dim); None where the network has none.
    """

    tokens: Tensor
    class_token: Tensor | None = None


class EncoderNetwork(nn.Module, ABC):
    """A pretrained network, in two steps: a fixed spectrogram, then what was learned.

    Parameters
    ----------
    dim
        Width of a token.
    bands
        Tokens side by side along frequency.
    layers
        Number of layers whose output can be had.
    """

    kind: ClassVar[str]
    """What the architecture is called."""
    rate_hz: ClassVar[int]
    """Sampling rate of its input."""
    adapted: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of the linear layers that LoRA adapts."""
    fixed: ClassVar[tuple[str, ...]] = ()
    """Names of parameters that stay as they are where all others are trained."""
    gains_from_bfloat16: ClassVar[bool] = True
    """Whether it is faster in bfloat16, and as good: "auto" takes float32 where it is not."""
    has_inner_class_tokens: ClassVar[bool] = True
    """Whether a class token, if there is one, can be had of every layer, not the last alone."""

    def __init__(self, dim: int, bands: int, layers: int) -> None:
        super().__init__()
        self.dim, self.bands, self.layers = dim, bands, layers
        self.generator: Generator | None = None
        """What is drawn in training comes from it, on the CPU; None is torch's own."""

    @property
    @abstractmethod
    def shortest(self) -> int:
        """Samples of the shortest clip that gives a token."""

    @property
    def longest(self) -> int | None:
        """Samples of the longest clip; None where there is no limit."""
        return None

    @torch.no_grad()
    def time_steps(self, samples: int) -> int:
        """Tokens one after the other that a clip of so many samples gives, in each band.

        Found by trying; networks that know better say so.
        """
        silence = torch.zeros(1, samples, device=next(self.parameters()).device)
        return self(self.features(silence)).tokens.shape[1]  # type: ignore[no-any-return]

    @property
    def has_class_token(self) -> bool:
        """Whether there is a token that stands for the whole clip."""
        return False

    @abstractmethod
    def features(self, waves: Tensor) -> Tensor:
        """The fixed spectrogram, in float32, of waves of shape (clips, samples) in [-1, 1]."""

    @abstractmethod
    def forward(self, features: Tensor, layer: int | None = None) -> TokenGrid:
        """Tokens by the spectrogram.

        Parameters
        ----------
        layer
            1 for the output of the first layer; None is the last.
        """

    def chance(self) -> float:
        """A number in [0, 1), drawn on the CPU, so that devices agree."""
        return float(torch.rand((), generator=self.generator))


def kept_paths(x: Tensor, probability: float, generator: Generator | None) -> Tensor:
    """`x` without some clips' values, the others divided by the probability to stay.

    Stochastic depth, clip by clip. Source: Huang et al., "Deep networks with stochastic depth",
    ECCV 2016, divided as timm's DropPath does.

    Parameters
    ----------
    x
        What a residual branch adds, shape (clips, ...).
    probability
        With which a clip loses it.
    """
    if probability == 0:
        return x
    kept = torch.rand(len(x), generator=generator) >= probability
    scale = kept.to(x) / (1 - probability)
    return x * scale.view(-1, *[1] * (x.dim() - 1))


def dropped_out(x: Tensor, probability: float, generator: Generator | None) -> Tensor:
    """Dropout that draws from a generator on the CPU."""
    if probability == 0:
        return x
    kept = torch.rand(x.shape, generator=generator) >= probability
    return x * kept.to(x) / (1 - probability)


def norm_factors(
    weights: Mapping[str, Tensor], name: str, epsilon: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """What a batch norm that is not trained multiplies by, and then adds, shape (channels,) each.

    Parameters
    ----------
    weights, name
        Arrays `<name>.weight`, `.bias`, `.running_mean` and `.running_var`.
    """
    scale = weights[f"{name}.weight"] / (weights[f"{name}.running_var"] + epsilon).sqrt()
    return scale, weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale


def load_with_norm(
    conv: nn.Conv2d, kernels: Tensor, bias: Tensor | None, norm: tuple[Tensor, Tensor] | None
) -> None:
    """Give a convolution its weights, with the batch norm after it folded into them.

    Parameters
    ----------
    kernels, bias
        Of the convolution itself.
    norm
        See `norm_factors`; None where no batch norm follows.
    """
    added = kernels.new_zeros(len(kernels)) if bias is None else bias
    if norm is not None:
        scale, shift = norm
        kernels, added = kernels * scale.view(-1, 1, 1, 1), added * scale + shift
    conv.load_state_dict({"weight": kernels, "bias": added})
