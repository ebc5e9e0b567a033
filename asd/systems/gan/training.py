"""The training loop of adversaries, an epoch at a time, with all that is needed to go on later.

Everything random is drawn on the CPU, so that training goes on from a checkpoint on any device.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from asd.errors import UserError
from asd.systems.gan.adam import Adam, flatten
from asd.systems.gan.average import decay_at, move_average
from asd.systems.gan.dense_gradients import gradients_by_hand
from asd.systems.gan.dropout import DropoutDraws
from asd.systems.gan.models import PUBLISHED, Adversaries, Objective
from asd.systems.gan.vectors import FrameVectors

_GATHERED = 2**17
"""Values of vectors gathered together, of each side."""


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
    objective
        What encoder and generator learn from.
    """

    batch_size: int
    learning_rate: float
    ema_decay: float
    ema_warm_up: bool
    objective: Objective = PUBLISHED


class Trainer:
    """Networks in training, their averages, optimisers, random numbers and counts.

    Parameters
    ----------
    networks
        With initial weights; trained in place.
    latent
        Width of z.
    random
        Draws orders, latents and the first state of dropout; on the CPU.
    """

    def __init__(
        self, networks: Adversaries, latent: int, schedule: Schedule, random: Generator
    ) -> None:
        self.networks = networks.train()
        self.average = copy.deepcopy(networks).requires_grad_(False).eval()
        self.latent = latent
        self.schedule = schedule
        self.random = random
        self.draws = DropoutDraws(random)
        self.device = next(networks.parameters()).device
        self.epochs = 0
        self.steps = 0
        # One optimiser for all opponents equals one for each: Adam moves every weight on its own.
        self._optimisers = {
            side: Adam(parameters, schedule.learning_rate, networks.flat)
            for side, parameters in _sides(networks).items()
        }
        self._gradients = gradients_by_hand(networks)
        self._averages = {
            side: [flatten(parameters)] if networks.flat else [p.data for p in parameters]
            for side, parameters in _sides(self.average).items()
        }

    def epoch(self, vectors: FrameVectors) -> dict[str, float]:
        """Train on each vector once per side; a last incomplete batch is left out (published).

        The discriminator and its opponents take turns, each with its own order of the vectors.

        Returns
        -------
        dict
            Mean loss of each network over the epoch; not finite if training diverged.
        """
        size = min(self.schedule.batch_size, len(vectors))
        count = len(vectors) // size
        orders = [self._order(len(vectors))[: count * size].view(count, size) for _ in range(2)]
        # The vectors of several steps are gathered together, about a megabyte.
        together = max(1, _GATHERED // (size * len(vectors.mean)))
        found: dict[str, list[Tensor]] = {}
        for index in torch.split(torch.stack(orders, dim=1), together):
            x = vectors.batch(index.reshape(-1)).view(*index.shape, -1)
            for first, second in x:
                for name, loss in self.step(first, second).items():
                    found.setdefault(name, []).append(loss)
        self._copy_what_is_not_averaged()
        self.epochs += 1
        # The epoch's only wait for the device. A sum over all weights is finite only if they are.
        means = torch.stack([torch.stack(losses).mean() for losses in found.values()])
        values = (means + 0 * _weight_sum(self.networks)).tolist()
        return dict(zip(found, values, strict=True))

    def step(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """A step of the discriminator on one batch, then one of its opponents on another."""
        objective = self.schedule.objective
        self.steps += 1
        losses: dict[str, Tensor] = {}
        if objective.adversary:
            z = self._latents(len(first))
            losses = self._gradients.discriminator_gradients(first, z, self.draws)
            self._descend("discriminator")
        z = self._latents(len(second))
        losses |= self._gradients.opponent_gradients(second, z, self.draws, objective)
        self._descend("opponents")
        return losses

    def _descend(self, side: str) -> None:
        optimiser = self._optimisers[side]
        optimiser.step()
        if side == "opponents" or "discriminator" in self.networks.averaged:
            decay = decay_at(self.steps, self.schedule.ema_decay, self.schedule.ema_warm_up)
            move_average(self._averages[side], optimiser.values, decay)

    def _copy_what_is_not_averaged(self) -> None:
        """Running statistics, and the weights of networks that score with their last ones."""
        buffers = zip(self.average.buffers(), self.networks.buffers(), strict=True)
        for mean, value in buffers:
            mean.copy_(value)
        if "discriminator" not in self.networks.averaged:
            values = self._optimisers["discriminator"].values
            move_average(self._averages["discriminator"], values, 0.0)

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
                "optimisers": {side: adam.state() for side, adam in self._optimisers.items()},
                "random": self.random.get_state(),
                "dropout": self.draws.state(),
            }
        )

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from what `snapshot` gave.

        Raises
        ------
        UserError
            It was written by an older version.
        """
        if "dropout" not in snapshot:
            raise UserError(
                "the checkpoint is of an older version of asd; train again without --restart"
            )
        self.epochs = snapshot["epochs"]
        self.steps = snapshot["steps"]
        self.networks.load_state_dict(snapshot["networks"])
        self.average.load_state_dict(snapshot["average"])
        for side, adam in self._optimisers.items():
            adam.restore(snapshot["optimisers"][side])
        self.random.set_state(snapshot["random"].cpu())
        self.draws.restore(snapshot["dropout"])


def _sides(networks: Adversaries) -> dict[str, list[torch.nn.Parameter]]:
    return {
        "discriminator": list(networks.discriminator.parameters()),
        "opponents": networks.opponent_parameters(),
    }


@torch.no_grad()
def _weight_sum(networks: Adversaries) -> Tensor:
    return torch.stack([weights.sum() for weights in networks.parameters()]).sum()
