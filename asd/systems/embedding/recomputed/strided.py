"""Convolutions along one axis as products of matrices, for long kernels and strides."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from asd.products import product
from asd.systems.embedding.recomputed.channels import in_step

_CLIPS = 16
"""Clips whose overlapping pieces are copied at a time."""


def strided_conv(x: Tensor, weight: Tensor, stride: int, factors: Tensor) -> Tensor:
    """Convolution of x * factors along one axis as a product of matrices.

    PyTorch's own makes the spectrum's branch a third slower in training.

    Parameters
    ----------
    x
        Shape (N, positions, C).
    weight
        Shape (D, C, kernel).
    factors
        A number for each clip and channel, shape (N, C).

    Returns
    -------
    Tensor
        Shape (N, (positions - kernel) // stride + 1, D).
    """
    shifts = -(-weight.shape[2] // stride)
    ends = (x.shape[1] - weight.shape[2]) // stride + shifts
    wanted = ends * stride
    x = x[:, :wanted] if wanted <= x.shape[1] else pad(x, (0, 0, 0, wanted - x.shape[1]))
    weight = pad(weight, (0, shifts * stride - weight.shape[2])).transpose(1, 2).flatten(1)
    found: Tensor = _BlockProduct.apply(  # type: ignore[no-untyped-call]
        x.reshape(len(x), ends, -1), weight, shifts, factors.repeat(1, stride).unsqueeze(1)
    )
    return found


class _BlockProduct(torch.autograd.Function):
    """Products of `shifts` consecutive blocks, from (N, blocks, B), with (D, shifts * B).

    Blocks are multiplied by `factors` first, shape (N, 1, B).
    """

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, weight: Tensor, shifts: int, factors: Tensor) -> Tensor:
        ctx.save_for_backward(blocks, weight, factors)
        ctx.shifts = shifts
        output = blocks.new_empty(len(blocks), blocks.shape[1] - shifts + 1, len(weight))
        for part, factor, into in in_step(blocks, factors, output, clips=_CLIPS):
            into.copy_(product(_windows(part, factor, shifts), weight.T).view_as(into))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, Tensor | None]:
        blocks, weight, factors = ctx.saved_tensors
        g_weight = torch.zeros_like(weight)
        for part, factor, g in in_step(blocks, factors, gradient, clips=_CLIPS):
            g_weight += product(g.flatten(0, 1).T, _windows(part, factor, ctx.shifts))
        if not ctx.needs_input_grad[0]:
            return None, g_weight, None, None
        g_blocks, g_factors = torch.zeros_like(blocks), []
        for part, factor, g, into in in_step(blocks, factors, gradient, g_blocks, clips=_CLIPS):
            g_windows = product(g.flatten(0, 1), weight).view(*g.shape[:2], -1)
            for i, shifted in enumerate(g_windows.chunk(ctx.shifts, dim=2)):
                into[:, i : i + shifted.shape[1]] += shifted
            g_factors.append((into * part).sum(dim=1, keepdim=True))
            into.mul_(factor)
        return g_blocks, g_weight, None, torch.cat(g_factors)


def _windows(blocks: Tensor, factors: Tensor, shifts: int) -> Tensor:
    """Runs of `shifts` blocks, from (N, blocks, B) to (N * runs, shifts * B)."""
    blocks = blocks * factors
    count = blocks.shape[1] - shifts + 1
    return torch.cat([blocks[:, i : i + count] for i in range(shifts)], dim=2).flatten(0, 1)
