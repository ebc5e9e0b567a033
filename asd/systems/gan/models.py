"""What belongs together in training: a BiGAN's three networks, a GAN's two, and their losses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from asd.systems.gan.dropout import DropoutDraws
from asd.systems.gan.image_networks import (
    ImageDiscriminator,
    ImageEncoder,
    ImageGenerator,
    ImagePairDiscriminator,
    ImageSize,
    initialise_images,
    let_statistics_move,
)
from asd.systems.gan.losses import cycle_loss, discriminator_loss, encoder_loss, generator_loss
from asd.systems.gan.networks import (
    LEAK,
    Discriminator,
    Mapping,
    PairDiscriminator,
    Sizes,
    initialise,
)

Losses = dict[str, Tensor]
"""Log column -> loss, a tensor without shape."""


@dataclass(frozen=True)
class Objective:
    """What encoder and generator learn from.

    Parameters
    ----------
    adversary
        Weight of the losses that the discriminator gives them; 1 is published. With 0 the
        discriminator learns nothing either.
    cycle
        Weight of the mean absolute difference of x and G(E(x)); 0 is published.
    """

    adversary: float = 1.0
    cycle: float = 0.0


PUBLISHED = Objective()


class Adversaries(nn.Module, ABC):
    """A discriminator and its opponents; all train at once, each on a loss of its own.

    In all losses x is real data, (batch, width), z is drawn from the standard normal
    distribution, (batch, latent), and `draws` gives the dropout (None: none).
    """

    averaged: ClassVar[tuple[str, ...]]
    """The networks that score with averaged weights; the others score with their last ones."""

    flat: ClassVar[bool]
    """Whether `Adam` shall join the weights: where there are many small ones."""

    discriminator: nn.Module

    @abstractmethod
    def discriminator_loss(self, x: Tensor, z: Tensor, draws: DropoutDraws | None) -> Tensor:
        """The discriminator's loss, without gradient for the opponents."""

    @abstractmethod
    def opponent_losses(
        self, x: Tensor, z: Tensor, draws: DropoutDraws | None, objective: Objective
    ) -> Losses:
        """Each opponent's loss, and the cycle loss, all of weight 1 (those of weight 0 left out).

        No adversarial loss depends on another opponent's weights.
        """

    def discriminator_gradients(self, x: Tensor, z: Tensor, draws: DropoutDraws) -> Losses:
        """Leave the gradients of the discriminator's loss in its weights' `grad`."""
        loss = self.discriminator_loss(x, z, draws)
        _leave_gradients(list(self.discriminator.parameters()), loss)
        return {"discriminator_loss": loss.detach()}

    def opponent_gradients(
        self, x: Tensor, z: Tensor, draws: DropoutDraws, objective: Objective
    ) -> Losses:
        """Leave the gradients of the weighted sum of the opponents' losses in their `grad`."""
        losses = self.opponent_losses(x, z, draws, objective)
        weighted = [
            loss * (objective.cycle if name == "cycle_loss" else objective.adversary)
            for name, loss in losses.items()
        ]
        _leave_gradients(self.opponent_parameters(), torch.stack(weighted).sum())
        return {name: loss.detach() for name, loss in losses.items()}

    def opponent_parameters(self) -> list[nn.Parameter]:
        """The weights of all networks but the discriminator."""
        return [
            parameter
            for name, network in self.named_children()
            if name != "discriminator"
            for parameter in network.parameters()
        ]


def _leave_gradients(parameters: list[nn.Parameter], loss: Tensor) -> None:
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.copy_(gradient)


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
    flat = True
    encoder: nn.Module
    generator: nn.Module

    def __init__(self, width: int, sizes: Sizes, random: Generator) -> None:
        super().__init__()
        self.encoder = Mapping(width, sizes.encoder, sizes.latent, leak=LEAK)
        self.generator = Mapping(sizes.latent, sizes.generator, width, leak=0.0)
        self.discriminator = PairDiscriminator(width, sizes)
        initialise(self, random)

    def discriminator_loss(self, x: Tensor, z: Tensor, draws: DropoutDraws | None) -> Tensor:
        """Real pairs against target 1, fake pairs against target 0."""
        with torch.no_grad():
            generated, latent = self.generator(z), self.encoder(x)
        return discriminator_loss(*self._judge(x, latent, generated, z, draws))

    def opponent_losses(
        self, x: Tensor, z: Tensor, draws: DropoutDraws | None, objective: Objective = PUBLISHED
    ) -> Losses:
        """The generator wants its pairs to pass for real, the encoder its own for fake."""
        latent = self.encoder(x)
        losses = {}
        if objective.adversary:
            real, fake = self._judge(x, latent, self.generator(z), z, draws)
            losses = {"generator_loss": generator_loss(fake), "encoder_loss": encoder_loss(real)}
        if objective.cycle:
            losses["cycle_loss"] = cycle_loss(x, self.generator(latent))
        else:
            self._pass_on(latent)
        return losses

    def _pass_on(self, latent: Tensor) -> None:
        """What else is done with E(x) where there is no cycle loss: nothing."""

    def _judge(
        self, x: Tensor, latent: Tensor, generated: Tensor, z: Tensor, draws: DropoutDraws | None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the real pairs (x, E(x)) and of the fake pairs (G(z), z)."""
        data, latents = torch.cat([x, generated]), torch.cat([latent, z])
        real, fake = self.discriminator(data, latents, draws)[0].chunk(2)
        return real, fake


class GANNetworks(Adversaries):
    """Generator, and a discriminator of single vectors. Parameters as in `BiGANNetworks`.

    The published code means to average the discriminator too, but looks its averages up under
    the generator's names, so its last weights are the ones that score.
    """

    averaged = ("generator",)
    flat = True
    generator: nn.Module

    def __init__(self, width: int, sizes: Sizes, random: Generator) -> None:
        super().__init__()
        self.generator = Mapping(sizes.latent, sizes.generator, width, leak=0.0)
        self.discriminator = Discriminator(width, sizes)
        initialise(self, random)

    def discriminator_loss(self, x: Tensor, z: Tensor, draws: DropoutDraws | None) -> Tensor:
        """Real vectors against target 1, generated ones against target 0."""
        with torch.no_grad():
            generated = self.generator(z)
        return discriminator_loss(*self._judge(x, generated, draws))

    def _judge(
        self, x: Tensor, generated: Tensor, draws: DropoutDraws | None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the real and of the generated vectors."""
        real, fake = self.discriminator(torch.cat([x, generated]), draws)[0].chunk(2)
        return real, fake

    def opponent_losses(
        self,
        x: Tensor,  # noqa: ARG002
        z: Tensor,
        draws: DropoutDraws | None,
        objective: Objective = PUBLISHED,  # noqa: ARG002
    ) -> Losses:
        """The generator wants its vectors to pass for real; the real ones play no part."""
        fake, _ = self.discriminator(self.generator(z), draws)
        return {"generator_loss": generator_loss(fake)}


class ImageBiGANNetworks(BiGANNetworks):
    """The convolutional encoder, generator and discriminator of pairs."""

    flat = False

    def __init__(self, size: ImageSize, latent: int, random: Generator) -> None:
        nn.Module.__init__(self)
        with torch.random.fork_rng(devices=[]):  # convolutions draw weights of their own at first
            self.encoder = ImageEncoder(size, latent)
            self.generator = ImageGenerator(size, latent)
            self.discriminator = ImagePairDiscriminator(size, latent)
        initialise_images(self, random)

    def _judge(
        self, x: Tensor, latent: Tensor, generated: Tensor, z: Tensor, draws: DropoutDraws | None
    ) -> tuple[Tensor, Tensor]:
        # Apart: real and fake batches are normalised each by its own statistics (published).
        return self.discriminator(x, latent, draws)[0], self.discriminator(generated, z, draws)[0]

    def _pass_on(self, latent: Tensor) -> None:
        # The published graph passes E(x) through G here too: the running statistics that scoring
        # uses are those of generated and of reconstructed images.
        with torch.no_grad():
            self.generator(latent)

    def discriminator_gradients(self, x: Tensor, z: Tensor, draws: DropoutDraws) -> Losses:
        """By autograd; only the discriminator's running statistics move."""
        _move_only(self, "discriminator")
        return super().discriminator_gradients(x, z, draws)

    def opponent_gradients(
        self, x: Tensor, z: Tensor, draws: DropoutDraws, objective: Objective
    ) -> Losses:
        """By autograd; only the opponents' running statistics move."""
        _move_only(self, "encoder", "generator")
        return super().opponent_gradients(x, z, draws, objective)


class ImageGANNetworks(GANNetworks):
    """The convolutional generator, and discriminator of single images."""

    flat = False

    def __init__(self, size: ImageSize, latent: int, random: Generator) -> None:
        nn.Module.__init__(self)
        with torch.random.fork_rng(devices=[]):  # as in the BiGAN
            self.generator = ImageGenerator(size, latent)
            self.discriminator = ImageDiscriminator(size)
        initialise_images(self, random)

    def _judge(
        self, x: Tensor, generated: Tensor, draws: DropoutDraws | None
    ) -> tuple[Tensor, Tensor]:
        # Apart, as in the BiGAN.
        return self.discriminator(x, draws)[0], self.discriminator(generated, draws)[0]

    def discriminator_gradients(self, x: Tensor, z: Tensor, draws: DropoutDraws) -> Losses:
        """By autograd; only the discriminator's running statistics move."""
        _move_only(self, "discriminator")
        return super().discriminator_gradients(x, z, draws)

    def opponent_gradients(
        self, x: Tensor, z: Tensor, draws: DropoutDraws, objective: Objective
    ) -> Losses:
        """By autograd; only the generator's running statistics move."""
        _move_only(self, "generator")
        return super().opponent_gradients(x, z, draws, objective)


def _move_only(networks: Adversaries, *names: str) -> None:
    for name, network in networks.named_children():
        let_statistics_move(network, name in names)
