"""Gradients of the dense networks, written out.

Networks this small spend more time in autograd's bookkeeping than in matrix products, and still a
fifth of it in calls of operations: so views are made once, and operations are few. Autograd gives
the same numbers, which tests hold.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu_, softplus

from asd.products import linear, product
from asd.systems.gan.dropout import DropoutDraws
from asd.systems.gan.models import (
    Adversaries,
    BiGANNetworks,
    GANNetworks,
    Losses,
    Objective,
)
from asd.systems.gan.networks import (
    DROPOUT,
    Dense,
    Discriminator,
    Mapping,
    PairDiscriminator,
    Stack,
)

_leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input


class DenseLayer:
    """The arrays of a dense layer, which stay where they are, and those of its gradients.

    Parameters
    ----------
    layer
        Its parameters have a `grad` each, into which gradients are put.
    """

    def __init__(self, layer: Dense) -> None:
        assert layer.weight.grad is not None
        assert layer.bias.grad is not None
        self.weight, self._bias = layer.weight.detach(), layer.bias.detach()
        self._weight_gradient, self._bias_gradient = layer.weight.grad, layer.bias.grad

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) -> (batch, outputs)."""
        return linear(x, self.weight, self._bias)

    def learn(self, x: Tensor, gradient: Tensor) -> None:
        """Find the gradients of weights, from the input and the gradient of the output."""
        product(gradient.t(), x, out=self._weight_gradient)
        torch.sum(gradient, 0, out=self._bias_gradient)

    def to_input(self, gradient: Tensor) -> Tensor:
        """The gradient of the input from that of the output."""
        return product(gradient, self.weight)


class DenseStack:
    """The layers of a stack."""

    def __init__(self, stack: Stack) -> None:
        self.layers = [DenseLayer(layer) for layer in stack.layers]  # type: ignore[arg-type]
        self.widths = [len(layer.bias) for layer in stack.layers]  # type: ignore[arg-type]
        self.leak = stack.leak


class StackPass:
    """Forward pass of a stack, with what the backward pass needs of it.

    Parameters
    ----------
    x
        Shape (batch, inputs).
    factors
        Of dropout, for each layer, or none; their memory is taken.

    Attributes
    ----------
    output
        Shape (batch, outputs).
    """

    def __init__(self, stack: DenseStack, x: Tensor, factors: Sequence[Tensor] = ()) -> None:
        self._layers, self._leak = stack.layers, stack.leak
        self._values = [x]
        self._slopes: list[Tensor] = []
        for index, layer in enumerate(self._layers):
            values = layer.forward(self._values[-1])
            if factors:
                slopes = _times_slope(factors[index], values, self._leak)
                self._slopes.append(slopes)
                values.mul_(slopes)
            else:
                leaky_relu_(values, self._leak)
            self._values.append(values)
        self.output = self._values[-1]

    def learn(self, gradient: Tensor, *, to_input: bool) -> Tensor | None:
        """Find the gradients of weights from that of the output, whose memory is taken.

        Returns
        -------
        Tensor or None
            With `to_input` the gradient of x.
        """
        for index in reversed(range(len(self._layers))):
            layer = self._layers[index]
            gradient = self._before_activation(index, gradient)
            layer.learn(self._values[index], gradient)
            if index or to_input:
                gradient = layer.to_input(gradient)
        return gradient if to_input else None

    def to_input(self, gradient: Tensor, rows: slice = slice(None)) -> Tensor:
        """The gradient of x[rows] from that of output[rows], whose memory is taken."""
        for index in reversed(range(len(self._layers))):
            gradient = self._before_activation(index, gradient, rows)
            gradient = self._layers[index].to_input(gradient)
        return gradient

    def _before_activation(self, index: int, gradient: Tensor, rows: slice = slice(None)) -> Tensor:
        if self._slopes:
            return gradient.mul_(self._slopes[index][rows])
        return _times_slope(gradient, self._values[index + 1][rows], self._leak)


class DenseMapping:
    """The layers of an encoder or a generator."""

    def __init__(self, mapping: Mapping) -> None:
        self.stack, self.last = DenseStack(mapping.stack), DenseLayer(mapping.last)


class MappingPass:
    """Forward pass of an encoder or a generator; attributes as in `StackPass`."""

    def __init__(self, mapping: DenseMapping, x: Tensor) -> None:
        self._last = mapping.last
        self._stack = StackPass(mapping.stack, x)
        self.output = mapping.last.forward(self._stack.output)

    def learn(self, gradient: Tensor, *, to_input: bool = False) -> Tensor | None:
        """As `StackPass.learn`."""
        self._last.learn(self._stack.output, gradient)
        return self._stack.learn(self._last.to_input(gradient), to_input=to_input)


class DenseDiscriminator:
    """The layers of D(x)."""

    def __init__(self, network: Discriminator) -> None:
        self.stack, self.last = DenseStack(network.stack), DenseLayer(network.last)


class DiscriminatorPass:
    """Forward pass of D(x).

    Attributes
    ----------
    logit
        Shape (batch, 1).
    """

    def __init__(self, network: DenseDiscriminator, x: Tensor, draws: DropoutDraws) -> None:
        self._last = network.last
        (factors,) = _factors([network.stack], x, draws)
        self._stack = StackPass(network.stack, x, factors)
        self.logit = network.last.forward(self._stack.output)

    def learn(self, gradient: Tensor) -> None:
        """Find the gradients of weights from that of the logit."""
        self._last.learn(self._stack.output, gradient)
        self._stack.learn(gradient * self._last.weight, to_input=False)

    def to_input(self, gradient: Tensor) -> Tensor:
        """The gradient of x, from that of the logit."""
        return self._stack.to_input(gradient * self._last.weight)


class DensePairDiscriminator:
    """The layers of D(x, z)."""

    def __init__(self, network: PairDiscriminator) -> None:
        self.data, self.latent = DenseStack(network.data), DenseStack(network.latent)
        self.joint, self.last = DenseStack(network.joint), DenseLayer(network.last)


class PairPass:
    """Forward pass of D(x, z), of real pairs and then as many fake ones; `logit` as above."""

    def __init__(
        self, network: DensePairDiscriminator, x: Tensor, z: Tensor, draws: DropoutDraws
    ) -> None:
        self._last = network.last
        data, latent, joint = _factors([network.data, network.latent, network.joint], x, draws)
        self._data = StackPass(network.data, x, data)
        self._latent = StackPass(network.latent, z, latent)
        self._widths = [network.data.widths[-1], network.latent.widths[-1]]
        both = torch.cat([self._data.output, self._latent.output], dim=1)
        self._joint = StackPass(network.joint, both, joint)
        self.logit = network.last.forward(self._joint.output)

    def learn(self, gradient: Tensor) -> None:
        """Find the gradients of weights from that of the logit."""
        self._last.learn(self._joint.output, gradient)
        back = self._joint.learn(gradient * self._last.weight, to_input=True)
        assert back is not None
        data, latent = torch.split(back, self._widths, dim=1)
        self._data.learn(data, to_input=False)
        self._latent.learn(latent, to_input=False)

    def to_inputs(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients that the opponents want, from that of the logit.

        Returns
        -------
        tuple
            Of the second half of x, which the generator made, and of the first half of z, which
            the encoder made.
        """
        back = self._joint.to_input(gradient * self._last.weight)
        half = len(gradient) // 2
        made, found = slice(half, None), slice(half)
        data, latent = torch.split(back, self._widths, dim=1)
        return self._data.to_input(data[made], made), self._latent.to_input(latent[found], found)


class BiGANGradients:
    """What `Adversaries` finds by autograd, in a third of the time.

    Parameters
    ----------
    networks
        Their parameters have a `grad` each; both stay where they are from now on.
    """

    def __init__(self, networks: BiGANNetworks) -> None:
        self._encoder = DenseMapping(networks.encoder)  # type: ignore[arg-type]
        self._generator = DenseMapping(networks.generator)  # type: ignore[arg-type]
        self._judge = DensePairDiscriminator(networks.discriminator)  # type: ignore[arg-type]
        self._real_low = _opposite(networks)

    @torch.inference_mode()
    def discriminator_gradients(self, x: Tensor, z: Tensor, draws: DropoutDraws) -> Losses:
        """See `Adversaries.discriminator_gradients`."""
        data = torch.cat([x, MappingPass(self._generator, z).output])
        latents = torch.cat([MappingPass(self._encoder, x).output, z])
        judged = PairPass(self._judge, data, latents, draws)
        losses, gradient = _cross_entropies(judged.logit, -self._real_low)
        judged.learn(gradient)
        return {"discriminator_loss": losses.sum()}

    @torch.inference_mode()
    def opponent_gradients(
        self, x: Tensor, z: Tensor, draws: DropoutDraws, objective: Objective
    ) -> Losses:
        """See `Adversaries.opponent_gradients`."""
        encoded = MappingPass(self._encoder, x)
        latent = encoded.output
        count = len(z) if objective.adversary else 0  # nothing else looks at G(z)
        inputs = torch.cat([z[:count], latent]) if objective.cycle else z
        made = MappingPass(self._generator, inputs)
        to_made = torch.zeros_like(made.output)
        to_latent = torch.zeros_like(latent)
        losses = {}
        if objective.adversary:
            pairs = torch.cat([x, made.output[:count]]), torch.cat([latent, z])
            judged = PairPass(self._judge, *pairs, draws)
            entropies, gradient = _cross_entropies(judged.logit, self._real_low)
            losses = {"generator_loss": entropies[1], "encoder_loss": entropies[0]}
            to_made[:count], to_latent = judged.to_inputs(gradient.mul_(objective.adversary))
        if objective.cycle:
            difference = made.output[count:] - x
            losses["cycle_loss"] = difference.abs().mean()
            to_made[count:] = difference.sign_().mul_(objective.cycle / x.numel())
        back = made.learn(to_made, to_input=bool(objective.cycle))
        encoded.learn(to_latent if back is None else to_latent.add_(back[count:]))
        return losses


class GANGradients:
    """What `Adversaries` finds by autograd; as `BiGANGradients`."""

    def __init__(self, networks: GANNetworks) -> None:
        self._generator = DenseMapping(networks.generator)  # type: ignore[arg-type]
        self._judge = DenseDiscriminator(networks.discriminator)  # type: ignore[arg-type]
        self._real_low = _opposite(networks)

    @torch.inference_mode()
    def discriminator_gradients(self, x: Tensor, z: Tensor, draws: DropoutDraws) -> Losses:
        """See `Adversaries.discriminator_gradients`."""
        data = torch.cat([x, MappingPass(self._generator, z).output])
        judged = DiscriminatorPass(self._judge, data, draws)
        losses, gradient = _cross_entropies(judged.logit, -self._real_low)
        judged.learn(gradient)
        return {"discriminator_loss": losses.sum()}

    @torch.inference_mode()
    def opponent_gradients(
        self,
        x: Tensor,  # noqa: ARG002
        z: Tensor,
        draws: DropoutDraws,
        objective: Objective,  # noqa: ARG002
    ) -> Losses:
        """See `Adversaries.opponent_gradients`."""
        made = MappingPass(self._generator, z)
        judged = DiscriminatorPass(self._judge, made.output, draws)
        losses, gradient = _cross_entropies(judged.logit, self._real_low[1:])
        made.learn(judged.to_input(gradient))
        return {"generator_loss": losses[0]}


Gradients = BiGANGradients | GANGradients


def gradients_by_hand(networks: Adversaries) -> Gradients | Adversaries:
    """Whoever finds the gradients of these networks fastest: themselves, unless they are dense."""
    if not networks.flat:
        return networks
    if isinstance(networks, BiGANNetworks):
        return BiGANGradients(networks)
    assert isinstance(networks, GANNetworks)
    return GANGradients(networks)


def _times_slope(gradient: Tensor, values: Tensor, leak: float) -> Tensor:
    """Multiply, in place, by the slope of the leaky ReLU: `values` are its input or its output."""
    multiplied: Tensor = _leaky_relu_backward(gradient, values, leak, False, grad_input=gradient)
    return multiplied


def _opposite(networks: Adversaries) -> Tensor:
    """Signs of logits in the opponents' losses: of real ones 1, of fake ones -1, shape (2, 1)."""
    like = next(networks.parameters())
    return torch.tensor([[1.0], [-1.0]], dtype=like.dtype, device=like.device)


def _cross_entropies(logit: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross entropies log(1 + exp(sign * logit)) of as many parts as there are signs.

    Returns
    -------
    tuple
        One for each part; and the gradient of their sum, of the logit's shape.
    """
    signed = logit.view(len(signs), -1) * signs
    losses = softplus(signed).mean(dim=1)
    gradient = signed.sigmoid_().mul_(signs / signed.shape[1])
    return losses, gradient.view(-1, 1)


def _factors(stacks: Iterable[DenseStack], x: Tensor, draws: DropoutDraws) -> list[list[Tensor]]:
    """Dropout's factors for every layer of every stack, drawn together."""
    shapes = [torch.Size((len(x), width)) for stack in stacks for width in stack.widths]
    drawn = iter(draws.of_shapes(shapes, DROPOUT, x.device))
    return [[next(drawn) for _ in stack.widths] for stack in stacks]
