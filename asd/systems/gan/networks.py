"""The networks of frame vectors, plain stacks of dense layers, and their sizes.

Weights and dropout are drawn from given generators on the CPU, never from the global one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from asd.errors import UserError
from asd.products import linear
from asd.systems.gan.dropout import DropoutDraws, dropout

LEAK = 0.1
"""Slope of the leaky ReLU below zero (published)."""
DROPOUT = 0.2
"""Share of a discriminator layer's values that training drops (published)."""


@dataclass(frozen=True)
class Sizes:
    """Widths of the hidden layers, input side first.

    Parameters
    ----------
    latent
        Width of the latent vector z.
    encoder, generator
        Hidden layers of E and G.
    pair_data, pair_latent, pair_joint
        The BiGAN's discriminator: layers on x, layers on z, layers on both side by side.
    plain
        The GAN's discriminator on x.
    """

    latent: int
    encoder: tuple[int, ...]
    generator: tuple[int, ...]
    pair_data: tuple[int, ...]
    pair_latent: tuple[int, ...]
    pair_joint: tuple[int, ...]
    plain: tuple[int, ...]


NETWORKS = {
    # Sized for 5 frames of 128 mels.
    "frames": Sizes(
        latent=32,
        encoder=(256, 128),
        generator=(128, 256),
        pair_data=(256,),
        pair_latent=(128,),
        pair_joint=(128,),
        plain=(256, 128, 128),
    ),
    # Published, for 121 features.
    "kdd": Sizes(
        latent=32,
        encoder=(64,),
        generator=(64, 128),
        pair_data=(128,),
        pair_latent=(128,),
        pair_joint=(128,),
        plain=(256, 128, 128),
    ),
}


def named_sizes(network: str, latent_dim: int | None = None) -> Sizes:
    """The sizes called `network`, with another latent width if `latent_dim` is given.

    Raises
    ------
    UserError
        There is no such network.
    """
    if network not in NETWORKS:
        raise UserError(f"network {network!r} is not known; choose one of {', '.join(NETWORKS)}")
    sizes = NETWORKS[network]
    return sizes if latent_dim is None else replace(sizes, latent=latent_dim)


class Dense(nn.Module):
    """x -> x W^T + b. Its weights hold nothing until `initialise`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, values: Tensor) -> Tensor:
        """(batch, inputs) -> (batch, outputs)."""
        return linear(values, self.weight, self.bias)


class Stack(nn.Module):
    """Dense layers, each followed by a leaky ReLU of slope `leak` and, if `drops`, dropout."""

    def __init__(self, widths: Sequence[int], leak: float = LEAK, drops: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Dense(*pair) for pair in pairwise(widths))
        self.leak = leak
        self.drops = drops

    def forward(self, values: Tensor, draws: DropoutDraws | None = None) -> Tensor:
        """(batch, widths[0]) -> (batch, widths[-1]); without `draws`, as in testing, no dropout."""
        for layer in self.layers:
            values = nn.functional.leaky_relu(layer(values), self.leak)
            if self.drops:
                values = dropout(values, draws, DROPOUT)
        return values


class Mapping(nn.Module):
    """A stack and a linear layer: the encoder x -> z, and (leak 0: ReLU) the generator z -> x."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, leak: float) -> None:
        super().__init__()
        self.stack = Stack((inputs, *hidden), leak)
        self.last = Dense((inputs, *hidden)[-1], outputs)

    def forward(self, values: Tensor) -> Tensor:
        """(batch, inputs) -> (batch, outputs)."""
        mapped: Tensor = self.last(self.stack(values))
        return mapped


class Discriminator(nn.Module):
    """D(x): how real a vector looks."""

    def __init__(self, width: int, sizes: Sizes) -> None:
        super().__init__()
        self.stack = Stack((width, *sizes.plain), drops=True)
        self.last = Dense(sizes.plain[-1], 1)

    def forward(self, x: Tensor, draws: DropoutDraws | None = None) -> tuple[Tensor, Tensor]:
        """Logit, shape (batch,), high for real; and the last hidden layer, the features."""
        features = self.stack(x, draws)
        return self.last(features).squeeze(1), features


class PairDiscriminator(nn.Module):
    """D(x, z): whether a pair is (x, E(x)) of real data, high, or (G(z), z), low."""

    def __init__(self, width: int, sizes: Sizes) -> None:
        super().__init__()
        self.data = Stack((width, *sizes.pair_data), drops=True)
        self.latent = Stack((sizes.latent, *sizes.pair_latent), drops=True)
        both = sizes.pair_data[-1] + sizes.pair_latent[-1]
        self.joint = Stack((both, *sizes.pair_joint), drops=True)
        self.last = Dense(sizes.pair_joint[-1], 1)

    def forward(
        self, x: Tensor, z: Tensor, draws: DropoutDraws | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logit, shape (batch,), high for real; and the last hidden layer, the features."""
        both = torch.cat([self.data(x, draws), self.latent(z, draws)], dim=1)
        features = self.joint(both, draws)
        return self.last(features).squeeze(1), features


def initialise(network: nn.Module, random: Generator) -> None:
    """Glorot uniform weights and zero biases (published), drawn from `random`; on the CPU."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.xavier_uniform_(parameter, generator=random)
