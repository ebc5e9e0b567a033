"""Products of matrices by either library: values and gradients against PyTorch's own."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear as pytorchs_linear

from asd import products

CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # sums of 200 products in single precision

onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="PyTorch was built without oneDNN"
)


@pytest.fixture(params=[False, pytest.param(True, marks=onednn)])
def library(request, monkeypatch):
    """With MKL, and with oneDNN for products of every size."""
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: request.param)
    monkeypatch.setattr(products, "_SMALLEST", 0)


@pytest.mark.parametrize("shape", [(7, 200), (3, 5, 200)])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.usefixtures("library")
def test_linear_and_its_gradients_are_pytorchs(shape, has_bias):
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(6, 200, requires_grad=True)
    bias = torch.randn(6, requires_grad=True) if has_bias else None
    got, expected = products.linear(x, weight, bias), pytorchs_linear(x, weight, bias)
    inputs = [one for one in (x, weight, bias) if one is not None]
    g = torch.randn_like(expected)
    values = [got, *torch.autograd.grad(got, inputs, g)]
    wanted = [expected, *torch.autograd.grad(expected, inputs, g)]
    for a, b in zip(values, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.usefixtures("library")
def test_product_takes_transposed_matrices():
    torch.manual_seed(1)
    a, b = torch.randn(200, 7), torch.randn(200, 5)
    torch.testing.assert_close(products.product(a.T, b), a.T @ b, **CLOSE)
    torch.testing.assert_close(products.product(b.T, a), b.T @ a, **CLOSE)


@pytest.mark.usefixtures("library")
def test_product_puts_its_values_where_it_is_told():
    torch.manual_seed(2)
    a, b, out = torch.randn(7, 200), torch.randn(200, 5), torch.zeros(7, 5)
    assert products.product(a, b, out=out) is out
    torch.testing.assert_close(out, a @ b, **CLOSE)


@onednn
def test_only_large_products_in_single_precision_are_onednns(monkeypatch):
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: True)
    asked = []
    by_onednn = products._by_onednn
    monkeypatch.setattr(
        products, "_by_onednn", lambda *given: asked.append(given) or by_onednn(*given)
    )
    large, small = torch.ones(128, 128), torch.ones(16, 16)
    products.product(small, small)
    products.product(large.double(), large.double())
    with torch.autocast("cpu", torch.bfloat16):
        products.linear(large, large)
    assert not asked
    products.product(large, large)
    products.linear(large, large)
    assert len(asked) == 2


def test_layer_has_the_state_of_pytorchs():
    theirs, ours = nn.Linear(200, 6), products.Linear(200, 6)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 200)
    torch.testing.assert_close(ours(x), theirs(x), **CLOSE)
