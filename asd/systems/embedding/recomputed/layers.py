"""Poolings and convolutions, and their gradients, where PyTorch's own layers are slow."""

import torch
from torch import Tensor

from asd.products import product
from asd.systems.embedding.recomputed.channels import channels_last, images


def convolution_gradients(
    g: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int, *, inputs: bool = True
) -> tuple[Tensor, Tensor]:
    """A convolution's gradients by x (if `inputs`) and by its weight, for g by its output."""
    where = [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1
    found = torch.ops.aten.convolution_backward(g, x, weight, None, *where, [inputs, True, False])
    return found[0], found[1]


def max_pooled(x: Tensor) -> Tensor:
    """max_pool2d(x, 3, 2) without a gradient: first along one axis, then along the other.

    A quarter of the time that PyTorch takes, which finds the places of the maxima, too.
    """
    for axis in (2, 3):
        count = (x.shape[axis] - 3) // 2 + 1
        even, odd = _every_other(x, axis)
        middle = odd.narrow(axis, 0, count)
        pairs = torch.maximum(even.narrow(axis, 0, count), middle)
        x = torch.maximum(pairs, even.narrow(axis, 1, count))
    return x


def max_pooled_padded(x: Tensor) -> Tensor:
    """max_pool2d(x, 3, 2, padding=1), as `max_pooled`."""
    for axis in (2, 3):
        even, odd = _every_other(x, axis)
        x, later = even.clone(), even.shape[axis] - 1
        _raise(x.narrow(axis, 0, odd.shape[axis]), odd)
        _raise(x.narrow(axis, 1, later), odd.narrow(axis, 0, later))
    return x


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution, channels last, without a gradient.

    Parameters
    ----------
    x
        Shape (N, C, H, W).
    weight
        Shape (D, C, 1, 1).
    """
    return images(product(positions(x), weight.flatten(1).T), x)


def pointwise_gradients(g: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution's gradients by x and by its weight, for g by its output."""
    by_weight = product(positions(g).T, positions(x)).view_as(weight)
    return images(product(positions(g), weight.flatten(1)), g), by_weight


def positions(x: Tensor) -> Tensor:
    """A view of shape (N * H * W, C) of an array of shape (N, C, H, W), channels last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def one_channel_last(x: Tensor) -> Tensor:
    """Kernels of shape (C, 1, k, k), whose strides say that their channel is last in memory.

    A single channel lies first and last, and PyTorch takes it for first; its convolutions then
    give an output in that format, which it takes as long to bring into the other as to compute.
    """
    return x.contiguous().as_strided(x.shape, (x[0].numel(), 1, x.shape[3], 1))


def pooling_gradient(g: Tensor, x: Tensor, places: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of a 3x3 max pooling by x, for g by its output."""
    where = [3, 3], [stride] * 2, [padding] * 2, [1, 1], False
    found: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        channels_last(g), x, *where, places
    )
    return found


def _every_other(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The even and the odd places along an axis."""
    before = (slice(None),) * axis
    return x[(*before, slice(0, None, 2))], x[(*before, slice(1, None, 2))]


def _raise(x: Tensor, least: Tensor) -> None:
    """Replace values that are below those of another array by them."""
    torch.maximum(x, least, out=x)
