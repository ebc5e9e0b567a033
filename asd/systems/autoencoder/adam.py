"""Adam for networks whose parameters lie end to end in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of the running means of gradients and of their squares, as in `torch.optim.Adam`."""


class FlatAdam:
    """Adam that moves all parameters of a network in one sweep over one array.

    The steps are those of `torch.optim.Adam` to the last bit (on a CPU; elsewhere its fused kernel
    is used), but a step on 52 small tensors takes a tenth of the training time more, and making
    the first optimiser of that class in a process nearly a second, for it imports a compiler.

    Parameters
    ----------
    network
        Its parameters and their gradients are moved into two arrays, of which they become views.
        They must stay on their device from then on.
    learning_rate
        Step size.

    Attributes
    ----------
    state
        For each parameter its moments, views of two arrays, and the steps made, one for all.
    """

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        parameters = list(network.parameters())
        self._values = torch.cat([p.detach().reshape(-1) for p in parameters])
        self._gradients = torch.zeros_like(self._values)
        self._moments = {name: torch.zeros_like(self._values) for name in MOMENTS}
        on_cpu = self._values.device.type == "cpu"
        self._steps = torch.zeros((), device=None if on_cpu else self._values.device)
        self._fused = not on_cpu
        arrays = (self._values, self._gradients, *self._moments.values())
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        for parameter, value, gradient, *moments in zip(
            parameters, *(_views(array, parameters) for array in arrays), strict=True
        ):
            parameter.data, parameter.grad = value, gradient
            named = dict(zip(MOMENTS, moments, strict=True))
            self.state[parameter] = {"step": self._steps, **named}

    def zero_grad(self) -> None:
        """Set all gradients to 0."""
        self._gradients.zero_()

    def step(self) -> None:
        """Move all parameters by their gradients."""
        means, squares = self._moments.values()
        adam_step(
            [self._values],
            [self._gradients],
            [means],
            [squares],
            [self._steps],
            self.learning_rate,
            fused=self._fused,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Moments of all parameters end to end, and the number of steps made."""
        return {**self._moments, "step": self._steps}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy what `state_dict` of an optimiser of such a network gave."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])


@torch.no_grad()
def adam_step(
    values: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    learning_rate: float,
    *,
    fused: bool,
) -> None:
    """One step of Adam (Kingma and Ba, ICLR 2015) with PyTorch's default parameters, in place."""
    adam(
        list(values),
        list(gradients),
        list(means),
        list(squares),
        max_exp_avg_sqs=[],
        state_steps=list(steps),
        foreach=False,
        fused=fused,
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=learning_rate,
        weight_decay=0.0,
        eps=1e-8,
        maximize=False,
    )


def _views(flat: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Parts of an array in the shapes of the parameters."""
    parts = torch.split(flat, [parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
