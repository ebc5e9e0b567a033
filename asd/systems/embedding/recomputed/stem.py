"""The stem of a residual network: convolution, batch norm, ReLU, max pooling."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from asd.systems.embedding.recomputed.channels import (
    ChannelSums,
    GradientSums,
    Moments,
    Norm,
    channels_last,
    in_step,
)
from asd.systems.embedding.recomputed.layers import (
    convolution_gradients,
    max_pooled,
    one_channel_last,
    pooling_gradient,
)

_CLIPS = 2
"""Clips that are computed at a time before the pooling."""


class Bins(NamedTuple):
    """A factor and an offset for each frequency bin, shape (bins, 1); without a gradient."""

    factor: Tensor
    offset: Tensor

    @classmethod
    def normalising(cls, found: Moments, eps: float) -> "Bins":
        """What a batch norm without scale and shift does, given the bins' moments."""
        factor = (found.variance + eps).rsqrt()
        return cls(factor[:, None], (-found.mean * factor)[:, None])


def pooled_stem(
    spectra: Tensor,
    weight: Tensor,
    eps: float,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    bins: Bins | None = None,
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
    bins
        Multiply and shift spectra by these first; None leaves them as they are.

    Returns
    -------
    tuple
        Output of shape (N, C, ...), and the moments of the convolution's output.
    """
    if scale is None or shift is None:
        output, *found = _PooledStem.apply(  # type: ignore[no-untyped-call]
            spectra, weight, bins, eps, True
        )
        return output, Moments(*found)
    sign = torch.where(scale.detach() < 0, -1.0, 1.0).to(weight.dtype)
    output, mean, *rest = _PooledStem.apply(  # type: ignore[no-untyped-call]
        spectra, weight * sign.view(-1, 1, 1, 1), bins, eps, False
    )
    output = torch.addcmul(shift.view(-1, 1, 1), output, scale.abs().view(-1, 1, 1)).relu_()
    return output, Moments(mean * sign, *rest)


class _PooledStem(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spectra: Tensor, weight: Tensor, bins: Bins | None, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        weight = one_channel_last(weight)
        output, sums = _room(spectra, weight), ChannelSums()
        for x, pooled in in_step(spectra, output, clips=_CLIPS):
            y = conv2d(_adjusted(x, bins), weight, stride=2)
            sums.add(y)
            pooled.copy_(max_pooled(y))
        found = sums.moments()
        norm = Norm(found, eps)
        for (part,) in in_step(output):
            normed = norm(part)
            part.copy_(normed.relu_() if relu else normed)
        ctx.save_for_backward(spectra, weight, found.mean, found.variance, output)
        ctx.n, ctx.bins, ctx.eps, ctx.relu = found.n, bins, eps, relu
        ctx.mark_non_differentiable(found.mean, found.variance)
        return output, *found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """The gradient by the norm's output is zero but at the places of the maxima.

        So its sums over all positions are those over the maxima.
        """
        spectra, weight, mean, variance, output = ctx.saved_tensors
        norm, sums = Norm(Moments(mean, variance, ctx.n), ctx.eps), GradientSums()
        g = torch.empty_like(output)
        for part, g_out, into in in_step(output, channels_last(gradient), g):
            into.copy_(g_out * (part > 0) if ctx.relu else g_out)
            sums.add(into, part)
        g_weight = torch.zeros_like(weight)
        wanted, g_spectra = ctx.needs_input_grad[0], []
        for part, g_part in in_step(spectra, g, clips=_CLIPS):
            x = _adjusted(part, ctx.bins)
            y = conv2d(x, weight, stride=2)
            places = max_pool2d(y, 3, 2, return_indices=True)[1]
            g_normed = pooling_gradient(g_part, y, places, stride=2, padding=0)
            g_y = norm.gradient(g_normed, y, sums)
            g_x, found = convolution_gradients(g_y, x, weight, 2, padding=0, inputs=wanted)
            g_weight += found
            g_spectra.append(g_x if ctx.bins is None or not wanted else g_x * ctx.bins.factor)
        return torch.cat(g_spectra) if wanted else None, g_weight, None, None, None


def _adjusted(spectra: Tensor, bins: Bins | None) -> Tensor:
    """Spectra times factor plus offset."""
    return spectra if bins is None else torch.addcmul(bins.offset, spectra, bins.factor)


def _room(spectra: Tensor, weight: Tensor) -> Tensor:
    """An array for what convolution and pooling make of spectra, channels last."""
    sides = (((side - weight.shape[2]) // 2 - 2) // 2 + 1 for side in spectra.shape[2:])
    shape = len(spectra), len(weight), *sides
    return torch.empty(shape, dtype=spectra.dtype, memory_format=torch.channels_last)
