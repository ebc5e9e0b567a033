"""The training loop of adversaries, an epoch at a time, with all that is needed to go on later.

Everything random is drawn on the CPU, so that training goes on from a checkpoint on any device.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from asd.systems.gan.average import decay_at, move_average
from asd.systems.gan.models import Adversaries
from asd.systems.gan.vectors import FrameVectors

BETAS = (0.5, 0.999)
"""Decay rates of Adam (published)."""


@dataclass(frozen=True)
class Schedule:
    """How to train.

    Parameters
    ----------
    batch_size
        Vectors per step; fewer when there are not as many.
    learning_rate
        Of Adam, for every network.
    ema_decay, ema_warm_up
        Of the weights' moving average: see `decay_at`.
    """

    batch_size: int
    learning_rate: float
    ema_decay: float
    ema_warm_up: bool


class Trainer:
    """Networks in training, their averages, optimisers, random numbers and counts.

    Parameters
    ----------
    networks
        With initial weights; trained in place.
    latent
        Width of z.
    random
        Draws orders, latents and dropout; on the CPU.
    """

    def __init__(
        self, networks: Adversaries, latent: int, schedule: Schedule, random: Generator
    ) -> None:
        self.networks = networks
        self.average = copy.deepcopy(networks).requires_grad_(False)
        self.latent = latent
        self.schedule = schedule
        self.random = random
        self.device = next(networks.parameters()).device
        self.epochs = 0
        self.steps = 0
        self._discriminator = _adam(list(networks.discriminator.parameters()), schedule)
        # One optimiser for all opponents equals one for each: Adam moves every weight on its own.
        self._opponents = _adam(networks.opponent_parameters(), schedule)

    def epoch(self, vectors: FrameVectors) -> dict[str, float]:
        """Train on each vector once per side; a last incomplete batch is left out (published).

        The discriminator and its opponents take turns, each with its own order of the vectors.

        Returns
        -------
        dict
            Mean loss of each network over the epoch; not finite if training diverged.
        """
        size = min(self.schedule.batch_size, len(vectors))
        orders = [torch.split(self._order(len(vectors)), size) for _ in range(2)]
        batches = list(zip(*orders, strict=True))[: len(vectors) // size]
        totals: dict[str, Tensor] = {}
        for first, second in batches:
            losses = self._step(vectors.batch(first), vectors.batch(second))
            totals = {name: totals.get(name, 0) + loss for name, loss in losses.items()}
        self.epochs += 1
        # The epoch's only wait for the device. A sum over all weights is finite only if they are.
        means = torch.stack([total / len(batches) for total in totals.values()])
        values = (means + 0 * _weight_sum(self.networks)).tolist()
        return dict(zip(totals, values, strict=True))

    def _step(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """A step of the discriminator, then one of its opponents."""
        loss = self.networks.discriminator_loss(first, self._latents(len(first)), self.random)
        _descend(self._discriminator, loss)
        losses = self.networks.opponent_losses(second, self._latents(len(second)), self.random)
        _descend(self._opponents, torch.stack(list(losses.values())).sum())
        self.steps += 1
        self._move_averages()
        losses = {"discriminator_loss": loss, **losses}
        return {name: value.detach() for name, value in losses.items()}

    def _move_averages(self) -> None:
        decay = decay_at(self.steps, self.schedule.ema_decay, self.schedule.ema_warm_up)
        for name, network in self.networks.named_children():
            kept = decay if name in self.networks.averaged else 0.0
            move_average(self.average.get_submodule(name), network, kept)

    def _order(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self.random).to(self.device)

    def _latents(self, count: int) -> Tensor:
        drawn = torch.randn(count, self.latent, generator=self.random)
        return drawn.to(self.device, non_blocking=True)

    def snapshot(self) -> dict[str, Any]:
        """All that changes in training, as copies."""
        return copy.deepcopy(
            {
                "epochs": self.epochs,
                "steps": self.steps,
                "networks": self.networks.state_dict(),
                "average": self.average.state_dict(),
                "discriminator_optimiser": self._discriminator.state_dict(),
                "opponent_optimiser": self._opponents.state_dict(),
                "random": self.random.get_state(),
            }
        )

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from what `snapshot` gave."""
        self.epochs = snapshot["epochs"]
        self.steps = snapshot["steps"]
        self.networks.load_state_dict(snapshot["networks"])
        self.average.load_state_dict(snapshot["average"])
        self._discriminator.load_state_dict(snapshot["discriminator_optimiser"])
        self._opponents.load_state_dict(snapshot["opponent_optimiser"])
        self.random.set_state(snapshot["random"].cpu())


def _adam(parameters: list[torch.nn.Parameter], schedule: Schedule) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=schedule.learning_rate, betas=BETAS, fused=True)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step on the optimiser's own weights; no other weight gets a gradient."""
    parameters = optimiser.param_groups[0]["params"]
    gradients = torch.autograd.grad(loss, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()


@torch.no_grad()
def _weight_sum(networks: Adversaries) -> Tensor:
    return torch.stack([weights.sum() for weights in networks.parameters()]).sum()
