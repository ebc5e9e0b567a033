"""Several autoencoders of the same shape as one: batched matrix products, gradients by hand.

With weights of shape (models, outputs, inputs), one call does for all models what would take as
many calls, each too small to fill a GPU. The gradients are written out: for a batch normalisation
with padding autograd would launch more kernels and keep more arrays, and launches are what a step
of so small a network costs. (On the CPU, too, a step takes less time than with autograd.)

In training, batch normalisation takes a model's mean and variance over that model's own batch. A
batch that is not full is padded; `share` of shape (models, batch, 1) says what part of the
batch's mean each window is: 1 / n for n windows, 0 for padding.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asd.systems.autoencoder.adam import MOMENTS, adam_step
from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.autoencoder.training import TrainingRun

_ALIGNMENT = 4  # numbers; 16 bytes of float32, so that every model's part can be read in vectors


@dataclass(frozen=True)
class _Parts:
    """Views of the parameters of k models, or of their gradients, per layer.

    `weights` have shape (k, outputs, inputs), all others (k, 1, outputs). `gains` and `offsets`
    are the scale and shift of batch normalisation.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    gains: list[Tensor]
    offsets: list[Tensor]


@dataclass(frozen=True)
class _Tape:
    """What the backward pass needs of the forward pass, per layer, shape (k, batch, ·).

    Parameters
    ----------
    inputs
        Of every linear layer; the first is the windows, all others are outputs of ReLU.
    normalised, scales
        Of every batch normalisation: its output before gain and offset, and the inverse standard
        deviation, shape (k, 1, outputs).
    output
        The reconstruction.
    """

    inputs: list[Tensor]
    normalised: list[Tensor]
    scales: list[Tensor]
    output: Tensor


class StackedNetwork:
    """The networks of several models, in flat arrays with a row for each model.

    Every method works on the first k models, k being taken from its argument, and leaves all that
    belongs to the others as it is.

    Parameters
    ----------
    networks
        Networks of the same shape, type and device. They are copied; `write_back` returns what
        was learned.

    Attributes
    ----------
    parameters, gradients
        Shape (models, numbers in a network, rounded up).
    running
        Running means and variances, shape (models, 2, all normalised outputs).
    """

    def __init__(self, networks: Sequence[AutoencoderNetwork]) -> None:
        first = networks[0]
        self._shapes = [tuple(layer.weight.shape) for layer in _linear(first)]
        norms = _norms(first)
        self._norm_sizes = [norm.num_features for norm in norms]
        self._eps, self._momentum = norms[0].eps, norms[0].momentum or 0.0
        self.parameters = stack_flat(ordered_parameters(network) for network in networks)
        self.gradients = torch.zeros_like(self.parameters)
        self.running = torch.stack(
            [torch.stack([torch.cat(part) for part in _statistics(n)]) for n in networks]
        )
        self._batch = torch.zeros_like(self.running)  # of the batch; variances are the biased ones

    def train_step(self, x: Tensor, share: Tensor, correction: Tensor) -> Tensor:
        """Leave the gradients in `gradients`, and move the running statistics.

        The loss of a model is the mean over its windows of their mean squared errors.

        Parameters
        ----------
        x
            Windows, shape (k, batch, values).
        share
            Shape (k, batch, 1), see above.
        correction
            n / (n - 1) for n windows, shape (k, 1): makes biased variances unbiased.

        Returns
        -------
        Tensor
            Mean squared error of every window, padding too, before the step, shape (k, batch).
        """
        k = len(x)
        parameters, gradients = self._parts(self.parameters, k), self._parts(self.gradients, k)
        tape = self._forward(x, share.transpose(1, 2), parameters)
        difference = tape.output - x
        errors = difference.square().mean(dim=2)
        self._backward(
            difference.mul_(share * (2 / x.shape[2])), share, tape, parameters, gradients
        )
        batch = self._batch[:k]
        batch[:, 1].mul_(correction)
        self.running[:k].lerp_(batch, self._momentum)
        return errors

    def validation_errors(self, x: Tensor) -> Tensor:
        """Mean squared error of every window with running statistics, shape (k, batch)."""
        k = len(x)
        parts = self._parts(self.parameters, k)
        means, variances = (self._norm_views(self.running[:k, i]) for i in range(2))
        a = x
        for i, (mean, variance) in enumerate(zip(means, variances, strict=True)):
            gain = parts.gains[i] * torch.rsqrt(variance + self._eps)
            z = torch.baddbmm(parts.biases[i] - mean, a, parts.weights[i].transpose(1, 2))
            a = torch.addcmul(parts.offsets[i], z, gain).relu_()
        output = torch.baddbmm(parts.biases[-1], a, parts.weights[-1].transpose(1, 2))
        return output.sub_(x).square_().mean(dim=2)

    def write_back(self, index: int, network: AutoencoderNetwork, steps: Tensor) -> None:
        """Copy the parameters and statistics of a model, `steps` batches old, into a network."""
        with torch.no_grad():
            unstack_flat(self.parameters[index], ordered_parameters(network))
            for values, kind in zip(self.running[index], _statistics(network), strict=True):
                unstack_flat(values, kind)
            for norm in _norms(network):
                if norm.num_batches_tracked is not None:
                    norm.num_batches_tracked.copy_(steps)

    def _forward(self, x: Tensor, mean_of: Tensor, parameters: _Parts) -> _Tape:
        """With the statistics of the batch; `mean_of` has shape (k, 1, batch)."""
        k = len(x)
        means, variances = (self._norm_views(self._batch[:k, i]) for i in range(2))
        inputs, normalised, scales = [x], [], []
        for i, (mean, variance) in enumerate(zip(means, variances, strict=True)):
            z = torch.baddbmm(
                parameters.biases[i], inputs[-1], parameters.weights[i].transpose(1, 2)
            )
            z -= torch.bmm(mean_of, z, out=mean)
            scale = torch.rsqrt(torch.bmm(mean_of, z.square(), out=variance) + self._eps)
            z *= scale
            inputs.append(torch.addcmul(parameters.offsets[i], z, parameters.gains[i]).relu_())
            normalised.append(z)
            scales.append(scale)
        last = torch.baddbmm(
            parameters.biases[-1], inputs[-1], parameters.weights[-1].transpose(1, 2)
        )
        return _Tape(inputs, normalised, scales, last)

    def _backward(
        self, gradient: Tensor, share: Tensor, tape: _Tape, parameters: _Parts, gradients: _Parts
    ) -> None:
        """From the loss's gradient by the output, shape (k, batch, values), 0 for padding."""
        for i in reversed(range(len(parameters.weights))):
            if i < len(tape.normalised):
                # dz = gain * scale * (g - share * (sum of g + normalised * sum of g normalised))
                normalised = tape.normalised[i]
                gradient = torch.ops.aten.threshold_backward(gradient, tape.inputs[i + 1], 0)
                offset = torch.sum(gradient, dim=1, keepdim=True, out=gradients.offsets[i])
                gain = torch.sum(gradient * normalised, dim=1, keepdim=True, out=gradients.gains[i])
                mean_part = torch.addcmul(offset, normalised, gain)
                gradient.addcmul_(mean_part, share, value=-1)
                gradient *= parameters.gains[i] * tape.scales[i]
            torch.sum(gradient, dim=1, keepdim=True, out=gradients.biases[i])
            torch.bmm(gradient.transpose(1, 2), tape.inputs[i], out=gradients.weights[i])
            if i > 0:
                gradient = torch.bmm(gradient, parameters.weights[i])

    def _parts(self, flat: Tensor, k: int) -> _Parts:
        norms, rest = 2 * sum(self._norm_sizes), flat[:k]
        gains, offsets = rest[:, :norms].chunk(2, dim=1)
        weights, biases, at = [], [], norms
        for outputs, inputs in self._shapes:
            size = outputs * inputs
            weights.append(rest[:, at : at + size].view(k, outputs, inputs))
            biases.append(rest[:, None, at + size : at + size + outputs])
            at += size + outputs
        return _Parts(weights, biases, self._norm_views(gains), self._norm_views(offsets))

    def _norm_views(self, flat: Tensor) -> list[Tensor]:
        """Per normalisation, shape (k, 1, outputs), of all, shape (k, all outputs)."""
        return list(torch.split(flat[:, None], self._norm_sizes, dim=2))


class StackedAdam:
    """Adam with a step count for each model, at the learning rate of the runs' optimisers."""

    def __init__(self, network: StackedNetwork, runs: Sequence[TrainingRun]) -> None:
        self._learning_rate = runs[0].optimiser.learning_rate
        self._parameters, self._gradients = network.parameters, network.gradients
        self._moments = {name: stack_flat(_moments(run, name) for run in runs) for name in MOMENTS}
        self.steps = torch.stack([_steps(run) for run in runs])

    def step(self, k: int) -> None:
        """Move the parameters of the first k models."""
        means, squares = self._moments.values()
        adam_step(
            self._parameters[:k].unbind(),
            self._gradients[:k].unbind(),
            means[:k].unbind(),
            squares[:k].unbind(),
            self.steps[:k].unbind(),
            self._learning_rate,
            fused=True,
        )

    def write_back(self, place: int, run: TrainingRun) -> None:
        """Copy a model's state into its optimiser, as if the optimiser had made the steps."""
        for name, moments in self._moments.items():
            unstack_flat(moments[place], _moments(run, name))
        _steps(run).copy_(self.steps[place])


def ordered_parameters(network: AutoencoderNetwork) -> list[Tensor]:
    """The parameters of a network in the order of a row of a flat array.

    Those of the normalisations come first, so that those of all layers lie side by side.
    """
    norms = _norms(network)
    linear = [parameter for layer in _linear(network) for parameter in (layer.weight, layer.bias)]
    return [*(norm.weight for norm in norms), *(norm.bias for norm in norms), *linear]


def stack_flat(models: Iterable[Sequence[Tensor]]) -> Tensor:
    """One row for each model: its tensors end to end, then zeros up to the alignment."""
    rows = [torch.cat([tensor.detach().reshape(-1) for tensor in model]) for model in models]
    return nn.functional.pad(torch.stack(rows), (0, -len(rows[0]) % _ALIGNMENT))


def unstack_flat(row: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy a row of a flat array into the tensors that it was made of."""
    sizes = [tensor.numel() for tensor in tensors]
    parts = torch.split(row[: sum(sizes)], sizes)
    for part, tensor in zip(parts, tensors, strict=True):
        tensor.copy_(part.view_as(tensor))


def _linear(network: AutoencoderNetwork) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def _norms(network: AutoencoderNetwork) -> list[nn.BatchNorm1d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]


def _statistics(network: AutoencoderNetwork) -> tuple[list[Tensor], list[Tensor]]:
    """Running means and variances of the normalisations."""
    state = [norm.state_dict() for norm in _norms(network)]  # of tensors that are not copies
    return [one["running_mean"] for one in state], [one["running_var"] for one in state]


def _moments(run: TrainingRun, name: str) -> list[Tensor]:
    """A moment of every parameter, in the order of a flat array."""
    return [run.optimiser.state[parameter][name] for parameter in ordered_parameters(run.network)]


def _steps(run: TrainingRun) -> Tensor:
    """The number of steps made, of which an optimiser has one for all its parameters."""
    return run.optimiser.state[ordered_parameters(run.network)[0]]["step"]
