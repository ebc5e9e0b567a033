"""The stem against PyTorch's own layers in double precision."""

import pytest
import torch
from layer_checks import CLOSE, EPS, gradients, images
from torch import nn
from torch.nn.functional import max_pool2d

from asd.systems.embedding.recomputed.channels import Moments
from asd.systems.embedding.recomputed.stem import Bins, pooled_stem


@pytest.mark.parametrize("clips", [1, 2, 5])
def test_pooled_stem_equals_its_layers(clips):
    torch.manual_seed(clips)
    spectra = images(clips, 1, 41, 30)
    conv = nn.Conv2d(1, 4, 7, stride=2, bias=False).double()
    norm = nn.BatchNorm2d(4, affine=False).double()
    expected = max_pool2d(norm(conv(spectra)).relu(), 3, 2)
    got, found = pooled_stem(spectra, conv.weight, EPS)
    torch.testing.assert_close(got, expected, **CLOSE)
    for a, b in zip(
        gradients([got], [conv.weight]), gradients([expected], [conv.weight]), strict=True
    ):
        torch.testing.assert_close(a, b, **CLOSE)
    torch.testing.assert_close(0.1 * found.mean, norm.running_mean, **CLOSE)
    unbiased = found.variance * found.n / (found.n - 1)
    torch.testing.assert_close(0.9 + 0.1 * unbiased, norm.running_var, **CLOSE)


def test_pooled_stem_of_normalised_bins_equals_its_layers():
    torch.manual_seed(6)
    spectra = images(5, 1, 41, 30).exp().requires_grad_()
    conv = nn.Conv2d(1, 4, 7, stride=2, bias=False).double()
    found = Moments.of_bins(spectra[:, 0])
    mean, deviation = found.mean[:, None], (found.variance + EPS).sqrt()[:, None]
    norm = nn.BatchNorm2d(4, affine=False).double()
    expected = max_pool2d(norm(conv((spectra - mean) / deviation)).relu(), 3, 2)
    got, _ = pooled_stem(spectra, conv.weight, EPS, bins=Bins.normalising(found, EPS))
    inputs = [spectra, conv.weight]
    values, wanted = [got, *gradients([got], inputs)], [expected, *gradients([expected], inputs)]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_pooled_stem_with_a_learned_scale_equals_its_layers():
    """Of either sign: a negative scale turns what was the largest value into the smallest."""
    torch.manual_seed(4)
    spectra = images(3, 1, 41, 30).requires_grad_()
    conv = nn.Conv2d(1, 4, 7, stride=2, bias=False).double()
    norm = nn.BatchNorm2d(4).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.2, -0.7, 0.3, -1.5]))
        norm.bias.copy_(torch.tensor([0.1, 0.4, -0.2, 0.0]))
    inputs = [spectra, conv.weight, norm.weight, norm.bias]
    expected = max_pool2d(norm(conv(spectra)).relu(), 3, 2)
    got, found = pooled_stem(spectra, conv.weight, EPS, norm.weight, norm.bias)
    values, wanted = [got, *gradients([got], inputs)], [expected, *gradients([expected], inputs)]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    torch.testing.assert_close(0.1 * found.mean, norm.running_mean, **CLOSE)
