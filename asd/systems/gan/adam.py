"""Adam on all weights of a network at once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

BETAS = (0.5, 0.999)
"""Decay rates of Adam (published)."""


class Adam:
    """Adam (Kingma and Ba, ICLR 2015) with a constant step size.

    Parameters
    ----------
    parameters
        Their gradients are read from their `grad`.
    learning_rate
        Step size.
    flat
        Move all values into one array, and give every parameter a gradient that is part of
        another: a step then takes one sweep, which matters where parameters are small. They must
        stay on their device from then on.

    Attributes
    ----------
    values
        The parameters' values: one array or, if not `flat`, one for each parameter.
    """

    def __init__(self, parameters: Sequence[Parameter], learning_rate: float, flat: bool) -> None:
        self._parameters = list(parameters)
        self._learning_rate = learning_rate
        self._flat_gradients = torch.zeros(0)
        self._flat = flat
        if flat:
            self.values = [flatten(parameters)]
            self._flat_gradients = torch.zeros_like(self.values[0])
            for parameter, gradient in zip(
                parameters, views(self._flat_gradients, parameters), strict=True
            ):
                parameter.grad = gradient
        else:
            self.values = [parameter.data for parameter in parameters]
        self._means = [torch.zeros_like(value) for value in self.values]
        self._squares = [torch.zeros_like(value) for value in self.values]
        self._steps = [torch.zeros((), device=value.device) for value in self.values]

    @torch.no_grad()
    def step(self) -> None:
        """Move all parameters by their gradients."""
        torch._foreach_add_(self._steps, 1)
        # What torch.optim calls too, after checks that take as long as a step of small networks.
        torch._fused_adam_(
            self.values,
            self._gradients(),
            self._means,
            self._squares,
            [],
            self._steps,
            lr=self._learning_rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def _gradients(self) -> list[Tensor]:
        if self._flat:
            return [self._flat_gradients]
        return [parameter.grad for parameter in self._parameters if parameter.grad is not None]

    def state(self) -> dict[str, list[Tensor]]:
        """Moments and step counts."""
        return {"means": self._means, "squares": self._squares, "steps": self._steps}

    def restore(self, state: dict[str, list[Tensor]]) -> None:
        """Copy what `state` of an optimiser of the same kind gave."""
        for name, tensors in self.state().items():
            for tensor, saved in zip(tensors, state[name], strict=True):
                tensor.copy_(saved)


def flatten(parameters: Sequence[Parameter]) -> Tensor:
    """Move the values of parameters into one array, of which they become parts."""
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    for parameter, value in zip(parameters, views(flat, parameters), strict=True):
        parameter.data = value
    return flat


def views(flat: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Parts of an array in the shapes of the parameters."""
    parts = torch.split(flat, [parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
