"""Poolings and convolutions against PyTorch's own."""

import pytest
import torch
from layer_checks import CLOSE, images
from torch.nn.functional import conv2d, max_pool2d

from asd.systems.embedding.recomputed.layers import (
    max_pooled,
    max_pooled_padded,
    one_channel_last,
    pointwise,
    pointwise_gradients,
)


@pytest.mark.parametrize("height", [3, 4, 7, 10])
@pytest.mark.parametrize("width", [3, 6, 9])
def test_max_pooled_is_pytorchs(height, width):
    x = images(2, 3, height, width)
    assert torch.equal(max_pooled(x), max_pool2d(x, 3, 2))


@pytest.mark.parametrize("height", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("width", [1, 4, 5])
def test_max_pooled_padded_is_pytorchs(height, width):
    x = images(2, 3, height, width)
    before = x.clone()
    assert torch.equal(max_pooled_padded(x), max_pool2d(x, 3, 2, padding=1))
    assert torch.equal(x, before)


def test_pointwise_is_a_1x1_convolution():
    torch.manual_seed(0)
    x, weight = images(2, 3, 4, 5).requires_grad_(), images(6, 3, 1, 1).requires_grad_()
    expected = conv2d(x, weight)
    g = images(2, 6, 4, 5)
    with torch.no_grad():
        values = [pointwise(x, weight), *pointwise_gradients(g, x, weight)]
    wanted = [expected, *torch.autograd.grad(expected, [x, weight], g)]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_a_convolution_of_one_channel_gives_channels_last():
    x, weight = torch.randn(2, 1, 20, 30), torch.randn(4, 1, 3, 3)
    assert torch.equal(one_channel_last(weight), weight)
    y = conv2d(x, one_channel_last(weight))
    assert y.is_contiguous(memory_format=torch.channels_last)
