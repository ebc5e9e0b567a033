"""Strided convolutions as products, against PyTorch's own in double precision."""

import pytest
import torch
from layer_checks import CLOSE, gradients
from torch.nn.functional import conv1d

from asd.systems.embedding.recomputed import strided
from asd.systems.embedding.recomputed.strided import strided_conv


@pytest.mark.parametrize(("kernel", "stride"), [(8, 4), (7, 3), (3, 5), (16, 4)])
@pytest.mark.parametrize("positions", [16, 21, 40])
def test_strided_conv_equals_the_convolution(positions, kernel, stride):
    torch.manual_seed(positions)
    x = torch.randn(2, positions, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, kernel, dtype=torch.float64, requires_grad=True)
    factors = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    scaled = x * factors[:, None]
    expected = conv1d(scaled.transpose(1, 2), weight, stride=stride).transpose(1, 2)
    got = strided_conv(x, weight, stride, factors)
    inputs = [x, weight, factors]
    values = [got, *gradients([got], inputs)]
    wanted = [expected, *gradients([expected], inputs)]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_strided_conv_in_parts_is_the_same(monkeypatch):
    torch.manual_seed(1)
    x = torch.randn(5, 21, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 7, dtype=torch.float64, requires_grad=True)
    factors = torch.rand(5, 3, dtype=torch.float64, requires_grad=True)

    def found():
        got = strided_conv(x, weight, 3, factors)
        return [got, *gradients([got], [x, weight, factors])]

    whole = found()
    monkeypatch.setattr(strided, "_CLIPS", 2)
    for a, b in zip(found(), whole, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
