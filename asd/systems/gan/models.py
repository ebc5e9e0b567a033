"""What belongs together in training: a BiGAN's three networks, a GAN's two, and their losses."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from asd.systems.gan.losses import discriminator_loss, encoder_loss, generator_loss
from asd.systems.gan.networks import (
    LEAK,
    Discriminator,
    Mapping,
    PairDiscriminator,
    Sizes,
    initialise,
)


class Adversaries(nn.Module, ABC):
    """A discriminator and its opponents; all train at once, each on a loss of its own.

    In both losses x is real data, (batch, width), z is drawn from the standard normal
    distribution, (batch, latent), and `random` gives the dropout (None: none).
    """

    averaged: ClassVar[tuple[str, ...]]
    """The networks that score with averaged weights; the others score with their last ones."""

    discriminator: nn.Module

    @abstractmethod
    def discriminator_loss(self, x: Tensor, z: Tensor, random: Generator | None) -> Tensor:
        """The discriminator's loss, without gradient for the opponents."""

    @abstractmethod
    def opponent_losses(self, x: Tensor, z: Tensor, random: Generator | None) -> dict[str, Tensor]:
        """Log column -> loss of each opponent; none depends on another opponent's weights."""

    def opponent_parameters(self) -> list[nn.Parameter]:
        """The weights of all networks but the discriminator."""
        return [
            parameter
            for name, network in self.named_children()
            if name != "discriminator"
            for parameter in network.parameters()
        ]


class BiGANNetworks(Adversaries):
    """Encoder, generator, and a discriminator of pairs.

    Parameters
    ----------
    width
        Values per data vector.
    random
        Draws the initial weights.
    """

    averaged = ("encoder", "generator", "discriminator")

    def __init__(self, width: int, sizes: Sizes, random: Generator) -> None:
        super().__init__()
        self.encoder = Mapping(width, sizes.encoder, sizes.latent, leak=LEAK)
        self.generator = Mapping(sizes.latent, sizes.generator, width, leak=0.0)
        self.discriminator = PairDiscriminator(width, sizes)
        initialise(self, random)

    def _pairs(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Real pairs (x, E(x)), then fake pairs (G(z), z)."""
        return torch.cat([x, self.generator(z)]), torch.cat([self.encoder(x), z])

    def discriminator_loss(self, x: Tensor, z: Tensor, random: Generator | None) -> Tensor:
        """Real pairs against target 1, fake pairs against target 0."""
        with torch.no_grad():
            pairs = self._pairs(x, z)
        real, fake = self.discriminator(*pairs, random)[0].chunk(2)
        return discriminator_loss(real, fake)

    def opponent_losses(self, x: Tensor, z: Tensor, random: Generator | None) -> dict[str, Tensor]:
        """The generator wants its pairs to pass for real, the encoder its own for fake."""
        real, fake = self.discriminator(*self._pairs(x, z), random)[0].chunk(2)
        return {"generator_loss": generator_loss(fake), "encoder_loss": encoder_loss(real)}


class GANNetworks(Adversaries):
    """Generator, and a discriminator of single vectors. Parameters as in `BiGANNetworks`.

    The published code means to average the discriminator too, but looks its averages up under
    the generator's names, so its last weights are the ones that score.
    """

    averaged = ("generator",)

    def __init__(self, width: int, sizes: Sizes, random: Generator) -> None:
        super().__init__()
        self.generator = Mapping(sizes.latent, sizes.generator, width, leak=0.0)
        self.discriminator = Discriminator(width, sizes)
        initialise(self, random)

    def discriminator_loss(self, x: Tensor, z: Tensor, random: Generator | None) -> Tensor:
        """Real vectors against target 1, generated ones against target 0."""
        with torch.no_grad():
            generated = self.generator(z)
        real, fake = self.discriminator(torch.cat([x, generated]), random)[0].chunk(2)
        return discriminator_loss(real, fake)

    def opponent_losses(
        self,
        x: Tensor,  # noqa: ARG002
        z: Tensor,
        random: Generator | None,
    ) -> dict[str, Tensor]:
        """The generator wants its vectors to pass for real; the real ones play no part."""
        fake, _ = self.discriminator(self.generator(z), random)
        return {"generator_loss": generator_loss(fake)}
