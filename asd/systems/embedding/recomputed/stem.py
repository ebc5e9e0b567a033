"""The stem of a residual network: convolution, batch norm, ReLU, max pooling."""

from typing import Any

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


class _PooledStem(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spectra: Tensor, weight: Tensor, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        spectra, weight = one_channel_last(spectra), one_channel_last(weight)
        output, sums = _room(spectra, weight), ChannelSums()
        for x, pooled in in_step(spectra, output, clips=_CLIPS):
            y = conv2d(x, weight, stride=2)
            sums.add(y)
            pooled.copy_(max_pooled(y))
        found = sums.moments()
        norm = Norm(found, eps)
        for (part,) in in_step(output):
            normed = norm(part)
            part.copy_(normed.relu_() if relu else normed)
        ctx.save_for_backward(spectra, weight, found.mean, found.variance, output)
        ctx.n, ctx.eps, ctx.relu = found.n, eps, relu
        ctx.mark_non_differentiable(found.mean, found.variance)
        return output, *found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, Tensor, None, None]:
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
        for x, g_part in in_step(spectra, g, clips=_CLIPS):
            y = conv2d(x, weight, stride=2)
            places = max_pool2d(y, 3, 2, return_indices=True)[1]
            g_normed = pooling_gradient(g_part, y, places, stride=2, padding=0)
            g_y = norm.gradient(g_normed, y, sums)
            g_x, found = convolution_gradients(g_y, x, weight, 2, padding=0, inputs=wanted)
            g_weight += found
            g_spectra.append(g_x)
        return torch.cat(g_spectra) if wanted else None, g_weight, None, None


def _room(spectra: Tensor, weight: Tensor) -> Tensor:
    """An array for what convolution and pooling make of spectra, channels last."""
    sides = (((side - weight.shape[2]) // 2 - 2) // 2 + 1 for side in spectra.shape[2:])
    shape = len(spectra), len(weight), *sides
    return torch.empty(shape, dtype=spectra.dtype, memory_format=torch.channels_last)
