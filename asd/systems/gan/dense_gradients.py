"""Gradients of the dense networks, written out.

Networks this small spend more time in autograd's bookkeeping than in matrix products. Every class
here is one forward pass of a network and keeps what its backward pass needs. A backward pass puts
the gradients of weights into their `grad`, which must be there, and takes its argument's memory.
Autograd gives the same numbers, which tests hold.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu_

from asd.systems.gan.dropout import DropoutDraws
from asd.systems.gan.networks import (
    DROPOUT,
    Dense,
    Discriminator,
    Mapping,
    PairDiscriminator,
    Stack,
)


class StackPass:
    """Forward pass of a stack.

    Parameters
    ----------
    x
        Shape (batch, inputs).
    factors
        Of dropout, for each layer, or none.

    Attributes
    ----------
    output
        Shape (batch, outputs).
    """

    def __init__(self, stack: Stack, x: Tensor, factors: Sequence[Tensor] = ()) -> None:
        self._stack = stack
        self._values = [x]
        self._factors = factors
        for index, layer in enumerate(_layers(stack)):
            values = leaky_relu_(_affine(layer, self._values[-1]), stack.leak)
            self._values.append(values.mul_(factors[index]) if factors else values)
        self.output = self._values[-1]

    def backward(
        self, gradient: Tensor, *, learn: bool, to_input: bool, rows: slice | None = None
    ) -> Tensor | None:
        """Go back from the gradient of the output.

        Parameters
        ----------
        gradient
            Of the loss with respect to `output[rows]`, or all of it.
        learn
            Find the gradients of weights.
        to_input
            Find, and give back, that of x[rows].
        """
        values, factors, layers = self._values, self._factors, _layers(self._stack)
        if rows is not None:
            values, factors = [v[rows] for v in values], [f[rows] for f in factors]
        for index in reversed(range(len(values) - 1)):
            layer, before, after = layers[index], values[index], values[index + 1]
            if factors:
                gradient.mul_(factors[index])
            gradient = torch.ops.aten.leaky_relu_backward(gradient, after, self._stack.leak, True)
            if learn:
                _learn(layer, before, gradient)
            if index or to_input:
                gradient = gradient @ layer.weight
        return gradient if to_input else None


class MappingPass:
    """Forward pass of an encoder or a generator; attributes as in `StackPass`."""

    def __init__(self, mapping: Mapping, x: Tensor) -> None:
        self._last = mapping.last
        self._stack = StackPass(mapping.stack, x)
        self.output = _affine(mapping.last, self._stack.output)

    def backward(self, gradient: Tensor, *, to_input: bool = False) -> Tensor | None:
        """Find the gradients of weights and, if wanted, that of the input."""
        _learn(self._last, self._stack.output, gradient)
        return self._stack.backward(gradient @ self._last.weight, learn=True, to_input=to_input)


class DiscriminatorPass:
    """Forward pass of D(x).

    Attributes
    ----------
    logit
        Shape (batch,).
    """

    def __init__(
        self, network: Discriminator, x: Tensor, draws: DropoutDraws | None = None
    ) -> None:
        self._last = network.last
        (factors,) = _factors([network.stack], len(x), draws)
        self._stack = StackPass(network.stack, x, factors)
        self.logit = _affine(network.last, self._stack.output).squeeze(1)

    def learn(self, gradient: Tensor) -> None:
        """Find the gradients of weights from that of the logit."""
        gradient = gradient[:, None]
        _learn(self._last, self._stack.output, gradient)
        self._stack.backward(gradient * self._last.weight, learn=True, to_input=False)

    def to_input(self, gradient: Tensor) -> Tensor:
        """The gradient of x, from that of the logit."""
        gradient = gradient[:, None] * self._last.weight
        found = self._stack.backward(gradient, learn=False, to_input=True)
        assert found is not None
        return found


class PairPass:
    """Forward pass of D(x, z); attributes as in `DiscriminatorPass`."""

    def __init__(
        self, network: PairDiscriminator, x: Tensor, z: Tensor, draws: DropoutDraws | None = None
    ) -> None:
        self._last = network.last
        stacks = [network.data, network.latent, network.joint]
        data, latent, joint = _factors(stacks, len(x), draws)
        self._data = StackPass(network.data, x, data)
        self._latent = StackPass(network.latent, z, latent)
        both = torch.cat([self._data.output, self._latent.output], dim=1)
        self._joint = StackPass(network.joint, both, joint)
        self.logit = _affine(network.last, self._joint.output).squeeze(1)

    def learn(self, gradient: Tensor) -> None:
        """Find the gradients of weights from that of the logit."""
        gradient = gradient[:, None]
        _learn(self._last, self._joint.output, gradient)
        data, latent = self._to_branches(gradient, learn=True)
        self._data.backward(data, learn=True, to_input=False)
        self._latent.backward(latent, learn=True, to_input=False)

    def to_inputs(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients that the opponents want, from that of the logit.

        Returns
        -------
        tuple
            Of the second half of x, which the generator made, and of the first half of z, which
            the encoder made.
        """
        data, latent = self._to_branches(gradient[:, None], learn=False)
        half = len(gradient) // 2
        made, found = slice(half, None), slice(half)
        to_x = self._data.backward(data[made], learn=False, to_input=True, rows=made)
        to_z = self._latent.backward(latent[found], learn=False, to_input=True, rows=found)
        assert to_x is not None
        assert to_z is not None
        return to_x, to_z

    def _to_branches(self, gradient: Tensor, *, learn: bool) -> tuple[Tensor, Tensor]:
        back = self._joint.backward(gradient * self._last.weight, learn=learn, to_input=True)
        assert back is not None
        width = self._data.output.shape[1]
        return back[:, :width], back[:, width:]


def _layers(stack: Stack) -> list[Dense]:
    return list(stack.layers)  # type: ignore[arg-type]


def _factors(stacks: Sequence[Stack], count: int, draws: DropoutDraws | None) -> list[list[Tensor]]:
    """Dropout's factors for every layer of every stack, drawn together."""
    if draws is None:
        return [[] for _ in stacks]
    layers = [layer for stack in stacks for layer in _layers(stack)]
    shapes = [torch.Size((count, len(layer.bias))) for layer in layers]
    drawn = iter(draws.of_shapes(shapes, DROPOUT, layers[0].bias.device))
    return [[next(drawn) for _ in stack.layers] for stack in stacks]


def _affine(layer: Dense, x: Tensor) -> Tensor:
    return torch.addmm(layer.bias, x, layer.weight.t())


def _learn(layer: Dense, x: Tensor, gradient: Tensor) -> None:
    """Gradients of a layer's weights, from its input and the gradient of its output."""
    torch.mm(gradient.t(), x, out=layer.weight.grad)
    torch.sum(gradient, 0, out=layer.bias.grad)
