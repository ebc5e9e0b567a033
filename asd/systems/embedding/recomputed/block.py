"""A residual block whose gradient needs its input, what lies in its middle, and its output."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, linear, max_pool2d

from asd.systems.embedding.recomputed.channels import (
    ChannelSums,
    GradientSums,
    Moments,
    Norm,
    channels_last,
    clip_sums,
    in_step,
)
from asd.systems.embedding.recomputed.layers import (
    convolution_gradients,
    max_pooled_padded,
    pointwise,
    pointwise_gradients,
    pooling_gradient,
)


class BlockWeights(NamedTuple):
    """What a block learns.

    Parameters
    ----------
    conv1, conv2
        3x3 convolutions with padding 1, shapes (D, C, 3, 3) and (D, D, 3, 3).
    squeeze, excite
        Of the gate, shapes (hidden, D) and (D, hidden).
    skip
        1x1 convolution of a skip path with stride, shape (D, C, 1, 1); None where it is x itself.
    scale1, shift1, scale2, shift2
        Of the batch norms, shapes (C,) and (D,); None for 1 and 0.
    """

    conv1: Tensor
    conv2: Tensor
    squeeze: Tensor
    excite: Tensor
    skip: Tensor | None = None
    scale1: Tensor | None = None
    shift1: Tensor | None = None
    scale2: Tensor | None = None
    shift2: Tensor | None = None


def residual_block(
    x: Tensor, found: Moments, weights: BlockWeights, stride: int, eps: float
) -> tuple[Tensor, Moments, Moments]:
    """skip(y) + gate(z) * z, where y = norm1(x) and z = conv2(relu(norm2(conv1(relu(y))))).

    gate(z) is a number for each clip and channel: sigmoid(excite(relu(squeeze(mean(z))))).
    skip(y) is y, or with a stride of 2 a 1x1 convolution of the max-pooled y (3x3, padding 1).

    Parameters
    ----------
    x
        Shape (N, C, H, W), best with channels last in memory, which otherwise costs a copy.
    found
        The moments of x. The gradient takes them as functions of x.
    stride
        Of conv1 and of the skip path, 1 or 2.
    eps
        Added to the variances.

    Returns
    -------
    tuple
        The output, shape (N, D, H / stride, W / stride); the moments of conv1's output; and those
        of the block's.
    """
    output, *rest = _Block.apply(  # type: ignore[no-untyped-call]
        channels_last(x), *found, stride, eps, *weights
    )
    n = output.numel() // output.shape[1]
    return output, Moments(rest[0], rest[1], n), Moments(rest[2], rest[3], n)


class _Layers:
    """The layers of a block between its batch norms, and the gradients of their weights."""

    def __init__(self, weights: BlockWeights, stride: int) -> None:
        self._weights, self.stride = weights, stride
        self.width = len(weights.conv1)
        self.gradients = [None if w is None else torch.zeros_like(w) for w in weights[:5]]
        """Of conv1, conv2, squeeze, excite and skip."""

    def first(self, y: Tensor) -> Tensor:
        """conv1(relu(y)); y is overwritten."""
        return conv2d(y.relu_(), self._weights.conv1, None, self.stride, 1)

    def second(self, y: Tensor) -> Tensor:
        """conv2(relu(y)); y is overwritten."""
        return conv2d(y.relu_(), self._weights.conv2, None, 1, 1)

    def gate(self, means: Tensor) -> Tensor:
        """From means of shape (n, D) to factors of shape (n, D)."""
        return linear(linear(means, self._weights.squeeze).relu_(), self._weights.excite).sigmoid_()

    def skip(self, y: Tensor) -> Tensor:
        """What the skip path makes of y."""
        if self._weights.skip is None:
            return y
        return pointwise(max_pooled_padded(y), self._weights.skip)

    def by_first(self, g: Tensor, y: Tensor) -> Tensor:
        """The gradient by y, from that of `first(y)`."""
        g = self._by_convolution(0, g, y.relu(), self.stride)
        found: Tensor = torch.ops.aten.threshold_backward.grad_input(g, y, 0, grad_input=g)
        return found

    def by_second(self, g: Tensor, y: Tensor, out: Tensor) -> Tensor:
        """The gradient by y, from that of `second(y)`; y is overwritten."""
        g = self._by_convolution(1, g, y.relu_(), 1)
        found: Tensor = torch.ops.aten.threshold_backward.grad_input(g, y, 0, grad_input=out)
        return found

    def by_gate(self, g: Tensor, means: Tensor) -> Tensor:
        """The gradient by means, from that of the gate's values before the sigmoid."""
        hidden = linear(means, self._weights.squeeze).relu_()
        self._add(3, g.T @ hidden)
        g_hidden = (g @ self._weights.excite) * (hidden > 0)
        self._add(2, g_hidden.T @ means)
        return g_hidden @ self._weights.squeeze

    def by_skip(self, g: Tensor, y: Tensor) -> Tensor:
        """The gradient by y, from that of `skip(y)`, where that is not y itself."""
        assert self._weights.skip is not None
        pooled, places = max_pool2d(y, 3, 2, 1, return_indices=True)
        g, by_weight = pointwise_gradients(g, pooled, self._weights.skip)
        self._add(4, by_weight)
        return pooling_gradient(g, y, places, 2, 1)

    def _by_convolution(self, place: int, g: Tensor, x: Tensor, stride: int) -> Tensor:
        g, by_weight = convolution_gradients(g, x, self._weights[:2][place], stride, 1)
        self._add(place, by_weight)
        return g

    def _add(self, place: int, gradient: Tensor) -> None:
        total = self.gradients[place]
        assert total is not None
        total += gradient


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        n: int,
        stride: int,
        eps: float,
        *learned: Tensor | None,
    ) -> tuple[Tensor, ...]:
        weights = BlockWeights(*learned)  # type: ignore[arg-type]
        layers = _Layers(weights, stride)
        norm1 = Norm(Moments(mean, variance, n), eps, weights.scale1, weights.shift1)
        middle, found = _to_middle(layers, norm1, x)
        norm2 = Norm(found, eps, weights.scale2, weights.shift2)
        output, means, last = _to_output(layers, norm1, norm2, x, middle)
        kept = x, middle, output, means, mean, variance, found.mean, found.variance
        ctx.save_for_backward(*kept, *learned)
        ctx.counts, ctx.stride, ctx.eps = (n, found.n), stride, eps
        statistics = found.mean, found.variance, last.mean, last.variance
        ctx.mark_non_differentiable(*statistics)
        return output, *statistics

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """To norm2, to norm1, and through it; the gradients of both need sums of all clips."""
        x, middle, output, means, mean1, variance1, mean2, variance2, *learned = ctx.saved_tensors
        weights = BlockWeights(*learned)
        layers = _Layers(weights, ctx.stride)
        n1, n2 = ctx.counts
        norm1 = Norm(Moments(mean1, variance1, n1), ctx.eps, weights.scale1, weights.shift1)
        norm2 = Norm(Moments(mean2, variance2, n2), ctx.eps, weights.scale2, weights.shift2)
        arrays = x, middle, output, means
        g_middle, g_skip, sums2 = _by_middle(layers, norm1, norm2, arrays, channels_last(gradient))
        g_x, sums1 = torch.empty_like(x) if ctx.stride == 1 else g_skip, GradientSums()
        for part, between, g, skip, into in in_step(x, middle, g_middle, g_skip, g_x):
            y = norm1(part)
            g = norm2.gradient(g, between, sums2, out=g)
            torch.add(layers.by_first(g, y), skip, out=into)
            sums1.add(into, norm1.plain(part, y))
        for part, into in in_step(x, g_x):
            norm1.gradient(into, part, sums1, out=into)
        learned_by = *layers.gradients, *norm1.learned(sums1), *norm2.learned(sums2)
        return g_x, *[None] * 5, *learned_by


def _to_middle(layers: _Layers, norm1: Norm, x: Tensor) -> tuple[Tensor, Moments]:
    """The output of the first convolution, and its moments."""
    middle, sums = _room(x, layers.width, layers.stride), ChannelSums()
    for part, into in in_step(x, middle):
        sums.add(into.copy_(layers.first(norm1(part))))
    return middle, sums.moments()


def _to_output(
    layers: _Layers, norm1: Norm, norm2: Norm, x: Tensor, middle: Tensor
) -> tuple[Tensor, Tensor, Moments]:
    """The block's output, the means that the gate sees, and the output's moments."""
    output, means, sums = torch.empty_like(middle), [], ChannelSums()
    for part, between, into in in_step(x, middle, output):
        main = layers.second(norm2(between))
        means.append(clip_sums(main) / main[0, 0].numel())
        gate = _per_channel(layers.gate(means[-1]))
        sums.add(torch.addcmul(layers.skip(norm1(part)), main, gate, out=into))
    return output, torch.cat(means), sums.moments()


def _by_middle(
    layers: _Layers, norm1: Norm, norm2: Norm, arrays: tuple[Tensor, ...], gradient: Tensor
) -> tuple[Tensor, Tensor, GradientSums]:
    """From the output's gradient to that of norm2's output.

    The gate's gradient before its sigmoid is (1 - gate) * sum(g * gate * main), in which
    gate * main = output - skip.

    Parameters
    ----------
    arrays
        x, middle, output, and the means that the gate sees.

    Returns
    -------
    tuple
        The gradient of norm2's output; that of norm1's output through the skip path; and sums of
        the former.
    """
    x, middle = arrays[:2]
    has_skip_layers = layers.stride > 1
    g_skip = torch.empty_like(x) if has_skip_layers else gradient
    g_middle, sums = torch.empty_like(middle), GradientSums()
    for part, between, output, means, g, into, skip_into in in_step(
        *arrays, gradient, g_middle, g_skip
    ):
        y, gate = norm1(part), layers.gate(means)
        to_gate = clip_sums(g * (output - layers.skip(y))) * (1 - gate)
        to_means = layers.by_gate(to_gate, means) / output[0, 0].numel()
        if has_skip_layers:
            skip_into.copy_(layers.by_skip(g, y))
        to_main = torch.addcmul(_per_channel(to_means), g, _per_channel(gate))
        y = norm2(between)
        sums.add(layers.by_second(to_main, y, out=into), norm2.plain(between, y))
    return g_middle, g_skip, sums


def _room(x: Tensor, channels: int, stride: int) -> Tensor:
    """An array for what a convolution with padding 1 makes of x, channels last."""
    n, _, height, width = x.shape
    shape = n, channels, (height - 1) // stride + 1, (width - 1) // stride + 1
    return torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)


def _per_channel(values: Tensor) -> Tensor:
    """From (N, C) to (N, C, 1, 1)."""
    return values[:, :, None, None]
