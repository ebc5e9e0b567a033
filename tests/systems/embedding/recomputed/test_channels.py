"""Batch norm's statistics, values and gradients against PyTorch's own in double precision."""

import pytest
import torch
from layer_checks import CLOSE, EPS, images
from torch import nn

from asd.systems.embedding.recomputed.channels import (
    GradientSums,
    Moments,
    Norm,
    clip_sums,
    in_step,
)


def test_moments_are_right_far_from_zero_over_many_clips():
    """PyTorch's batch norm of such an array is off by 1e-3; single precision sums by 1e-4."""
    torch.manual_seed(3)
    x = torch.randn(16, 16, 123, 76).mul_(0.1).add_(3.0)
    x = x.contiguous(memory_format=torch.channels_last)
    mean, variance, n = Moments.of(x)
    assert n == 16 * 123 * 76
    wanted_variance, wanted_mean = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean.double(), wanted_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), wanted_variance, rtol=1e-4, atol=0)


def test_moments_of_bins_are_those_of_each_frequency():
    torch.manual_seed(5)
    spectra = torch.randn(700, 9, 100).exp()  # more clips than are taken at a time
    mean, variance, n = Moments.of_bins(spectra)
    assert n == 700 * 100
    wanted_variance, wanted_mean = torch.var_mean(spectra.double(), dim=(0, 2), correction=0)
    torch.testing.assert_close(mean.double(), wanted_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), wanted_variance, rtol=1e-5, atol=0)


@pytest.mark.parametrize("affine", [False, True])
def test_norm_and_its_gradient_are_batch_norms(affine):
    torch.manual_seed(6)
    x = images(4, 3, 5, 7).requires_grad_()
    layer = nn.BatchNorm2d(3, affine=affine).double()
    if affine:
        with torch.no_grad():
            layer.weight.uniform_(-1, 1)
            layer.bias.uniform_(-1, 1)
    expected, g = layer(x), images(4, 3, 5, 7)
    norm = Norm(Moments.of(x), EPS, layer.weight, layer.bias)
    with torch.no_grad():
        got, sums = norm(x), GradientSums()
        for part, normed, g_part in in_step(x, got, g, clips=3):
            sums.add(g_part, norm.plain(part, normed))
        values = [got, norm.gradient(g, x, sums), *norm.learned(sums)]
        in_place = g.clone()
        norm.gradient(in_place, x, sums, out=in_place)
        assert torch.equal(in_place, values[1])
    learned = [layer.weight, layer.bias] if affine else []
    wanted = [expected, *torch.autograd.grad(expected, [x, *learned], g)]
    for a, b in zip(values, wanted, strict=False):
        torch.testing.assert_close(a, b, **CLOSE)
    assert affine or values[2:] == [None, None]


def test_clip_sums_are_over_all_positions():
    x = images(3, 4, 5, 6)
    torch.testing.assert_close(clip_sums(x), x.sum(dim=(2, 3)), **CLOSE)


def test_parts_in_step_are_of_the_same_clips():
    a, b = torch.arange(10).view(5, 2), torch.arange(5)
    parts = list(in_step(a, b, clips=2))
    assert [len(part) for part, _ in parts] == [2, 2, 1]
    for part, numbers in parts:
        assert torch.equal(part[:, 0], 2 * numbers)
    assert len(list(in_step(torch.zeros(3, 2**19), torch.zeros(3)))) == 3  # each fills a part
