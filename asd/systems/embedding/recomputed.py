"""Layers for training on a CPU that keep little for the gradient and compute the rest again.

Layer by layer, autograd keeps every output of a batch norm and of a ReLU, and the stem's largest
arrays. Here only what lies between convolution and batch norm is kept: training on clips of 10 s
peaks at 1.4 GB instead of 2.1 (1.8 instead of 2.9 where freed memory is kept).

The statistics are added up in double precision: PyTorch 2.13's batch norm is off by 1e-4 to 1e-3 of
a deviation on channels-last arrays, in which convolutions run fastest.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, linear, max_pool2d, pad

_STEM_CLIPS = 2
"""Clips whose stem is computed at a time."""

_SUMMED_VALUES = 2**16
"""Values added up in single precision before they go into a sum in double precision."""


class Moments(NamedTuple):
    """Mean and variance (divisor n) of each channel, shape (C,), and n; without a gradient."""

    mean: Tensor
    variance: Tensor
    n: int

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """Moments of an array of shape (N, C, H, W), channels last in memory."""
        sums = _Sums()
        sums.add(x.detach())
        return sums.moments(x.dtype)


def norm_relu_conv(
    x: Tensor,
    found: Moments,
    weight: Tensor,
    stride: int,
    eps: float,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """conv(relu(batch_norm(x))), a 3x3 convolution with padding 1, and what a skip path gets.

    Parameters
    ----------
    x
        Shape (N, C, H, W).
    found
        The moments of x. The gradient takes them as functions of x.
    scale, shift
        Of the batch norm, shape (C,); None for 1 and 0.

    Returns
    -------
    tuple
        The convolution's output, and batch_norm(x), with a stride max-pooled (3x3, padding 1).
    """
    main, skip = _NormReluConv.apply(  # type: ignore[no-untyped-call]
        x, found.mean, found.variance, weight, stride, eps, scale, shift
    )
    return main, skip


def pooled_stem(
    spectra: Tensor,
    weight: Tensor,
    eps: float,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
) -> tuple[Tensor, Moments]:
    """max_pool(relu(batch_norm(conv(spectra)))), the pooling 3x3 with stride 2.

    A few clips at a time, as the largest array of all would have four times the pooled one's size.
    As ReLU and batch norm do not fall, they follow the pooling; where a channel's learned scale is
    negative, scale and convolution change their signs together first, which changes nothing else.

    Parameters
    ----------
    spectra
        Shape (N, 1, bins, frames).
    weight
        Of the convolution, with stride 2 and without padding, shape (C, 1, k, k).
    eps
        Added to the variances.
    scale, shift
        Of the batch norm, shape (C,); None for 1 and 0.

    Returns
    -------
    tuple
        Output of shape (N, C, ...), and the moments of the convolution's output.
    """
    if scale is None or shift is None:
        output, *found = _PooledStem.apply(  # type: ignore[no-untyped-call]
            spectra, weight, eps, True
        )
        return output, Moments(*found)
    sign = torch.where(scale.detach() < 0, -1.0, 1.0).to(weight.dtype)
    output, mean, *rest = _PooledStem.apply(  # type: ignore[no-untyped-call]
        spectra, weight * sign.view(-1, 1, 1, 1), eps, False
    )
    output = torch.addcmul(shift.view(-1, 1, 1), output, scale.abs().view(-1, 1, 1)).relu_()
    return output, Moments(mean * sign, *rest)


def strided_conv(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolution along one axis as a product of matrices, for long kernels and strides.

    PyTorch's own makes the spectrum's branch a third slower in training.

    Parameters
    ----------
    x
        Shape (N, positions, C).
    weight
        Shape (D, C, kernel).

    Returns
    -------
    Tensor
        Shape (N, (positions - kernel) // stride + 1, D).
    """
    shifts = -(-weight.shape[2] // stride)
    ends = (x.shape[1] - weight.shape[2]) // stride + shifts
    x = pad(x, (0, 0, 0, ends * stride - x.shape[1]))  # or cut
    weight = pad(weight, (0, shifts * stride - weight.shape[2])).transpose(1, 2).flatten(1)
    found: Tensor = _BlockProduct.apply(  # type: ignore[no-untyped-call]
        x.reshape(len(x), ends, -1), weight, shifts
    )
    return found


class _BlockProduct(torch.autograd.Function):
    """Products of `shifts` consecutive blocks, from (N, blocks, B), with (D, shifts * B)."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, weight: Tensor, shifts: int) -> Tensor:
        ctx.save_for_backward(blocks, weight)
        ctx.shifts = shifts
        return linear(_BlockProduct.windows(blocks, shifts), weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        blocks, weight = ctx.saved_tensors
        g = gradient.flatten(0, 1)
        g_weight = g.T @ _BlockProduct.windows(blocks, ctx.shifts).flatten(0, 1)
        if not ctx.needs_input_grad[0]:
            return None, g_weight, None
        g_blocks = torch.zeros_like(blocks)
        for i, part in enumerate((gradient @ weight).chunk(ctx.shifts, dim=2)):
            g_blocks[:, i : i + part.shape[1]] += part
        return g_blocks, g_weight, None

    @staticmethod
    def windows(blocks: Tensor, shifts: int) -> Tensor:
        count = blocks.shape[1] - shifts + 1
        return torch.cat([blocks[:, i : i + count] for i in range(shifts)], dim=2)


class _NormReluConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor,
        stride: int,
        eps: float,
        scale: Tensor | None,
        shift: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, mean, variance, weight, scale, shift)
        ctx.stride, ctx.eps = stride, eps
        ctx.set_materialize_grads(False)
        normed = batch_norm(x, mean, variance, scale, shift, eps=eps)
        skip = normed if stride == 1 else max_pool2d(normed, 3, stride, 1)
        return conv2d(normed.relu(), weight, None, stride, 1), skip

    @staticmethod
    def backward(ctx: Any, g_main: Tensor, g_skip: Tensor | None) -> tuple[Tensor | None, ...]:
        x, mean, variance, weight, scale, shift = ctx.saved_tensors
        normed = batch_norm(x, mean, variance, scale, shift, eps=ctx.eps)
        if g_skip is not None:
            g_skip = _channels_last(g_skip)
        if g_skip is not None and ctx.stride > 1:
            _, places = max_pool2d(normed, 3, ctx.stride, 1, return_indices=True)
            g_skip = _pooling_gradient(g_skip, normed, places, ctx.stride, padding=1)
        main = normed.relu_()
        g, g_weight = _convolution_gradients(
            _channels_last(g_main), main, weight, ctx.stride, padding=1
        )
        torch.ops.aten.threshold_backward.grad_input(g, main, 0, grad_input=g)
        if g_skip is not None:
            g += g_skip
        g_x, g_scale, g_shift = _norm_gradients(g, x, mean, variance, ctx.eps, scale)
        return g_x, None, None, g_weight, None, None, g_scale, g_shift


class _PooledStem(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spectra: Tensor, weight: Tensor, eps: float, relu: bool
    ) -> tuple[Any, ...]:
        pooled, sums = [], _Sums()
        for x in torch.split(spectra, _STEM_CLIPS):
            y = _channels_last(conv2d(x, weight, stride=2))
            sums.add(y)
            pooled.append(max_pool2d(y, 3, 2))
        mean, variance, n = sums.moments(spectra.dtype)
        output = batch_norm(torch.cat(pooled), mean, variance, eps=eps)
        if relu:
            output.relu_()
        ctx.save_for_backward(spectra, weight, mean, (variance + eps).rsqrt(), output)
        ctx.n, ctx.relu = n, relu
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance, n

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, Tensor, None, None]:
        """Batch norm's gradient, scale * (g - mean(g) - y mean(g y)), clip by clip.

        g is zero but at the places of the maxima, so that its means are sums over them.
        """
        spectra, weight, mean, scale, output = ctx.saved_tensors
        g = _channels_last(gradient) * (output > 0 if ctx.relu else 1)
        g_mean = g.sum(dim=(0, 2, 3)) / ctx.n
        gy_mean = (g * output).sum(dim=(0, 2, 3)) / ctx.n
        slope = scale * scale * gy_mean
        offset = scale * g_mean - slope * mean
        g.mul_(scale.view(-1, 1, 1))
        total = torch.zeros_like(weight)
        wanted = ctx.needs_input_grad[0]
        g_spectra = []
        clips = torch.split(spectra, _STEM_CLIPS)
        g_parts = torch.split(g, _STEM_CLIPS)
        for x, g_part in zip(clips, g_parts, strict=True):
            y = _channels_last(conv2d(x, weight, stride=2))
            places = max_pool2d(y, 3, 2, return_indices=True)[1]
            dy = _pooling_gradient(g_part, y, places, stride=2, padding=0)
            dy -= y.mul_(slope.view(-1, 1, 1)).add_(offset.view(-1, 1, 1))
            g_x, g_weight = _convolution_gradients(dy, x, weight, 2, padding=0, inputs=wanted)
            total += g_weight
            g_spectra.append(g_x)
        return torch.cat(g_spectra) if wanted else None, total, None, None


class _Sums:
    """Sums and sums of squares of channels, added up array by array.

    Lines of W * C values are added up, as rows of few channels take far longer.
    """

    def __init__(self) -> None:
        self.total = torch.zeros(())
        self.n = 0

    def add(self, x: Tensor) -> None:
        """Add an array of shape (N, C, H, W), all of the same C and W."""
        _, channels, _, width = x.shape
        lines = x.permute(0, 2, 3, 1).reshape(-1, width * channels)
        for part in torch.split(lines, max(_SUMMED_VALUES // lines.shape[1], 1)):
            sums = torch.stack([part.sum(dim=0), part.square().sum(dim=0)]).double()
            self.total = self.total + sums.view(2, width, channels)
        self.n += lines.shape[0] * width

    def moments(self, dtype: torch.dtype) -> Moments:
        """Moments of all values so far."""
        mean, squares = self.total.sum(dim=1) / self.n
        variance = (squares - mean.square()).clamp_min(0)
        return Moments(mean.to(dtype), variance.to(dtype), self.n)


def _convolution_gradients(
    g: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, *, inputs: bool = True
) -> tuple[Tensor, Tensor]:
    """A convolution's gradients by x (if `inputs`) and by its weight, for g by its output."""
    where = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1
    found = torch.ops.aten.convolution_backward(g, x, weight, None, *where, [inputs, True, False])
    return found[0], found[1]


def _pooling_gradient(g: Tensor, x: Tensor, places: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of a 3x3 max pooling by x, for g by its output."""
    where = [3, 3], [stride] * 2, [padding] * 2, [1, 1], False
    found: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(g, x, *where, places)
    return found


def _norm_gradients(
    g: Tensor, x: Tensor, mean: Tensor, variance: Tensor, eps: float, scale: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Batch norm's gradients by x and, where there is a scale, by scale and shift."""
    learns = scale is not None
    found = torch.ops.aten.native_batch_norm_backward(
        g, x, scale, None, None, mean, (variance + eps).rsqrt(), True, eps, [True, learns, learns]
    )
    return found[0], *(found[1:3] if learns else (None, None))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
