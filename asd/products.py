"""Products of matrices on a CPU, by the faster of PyTorch's two libraries.

PyTorch multiplies by Intel's MKL, which uses half of the vector width of AMD's processors with
AVX-512: on one core of an EPYC of 2024 it reaches 100 billion operations a second, and oneDNN,
which PyTorch has for convolutions, 200 to 240. On other processors nothing is changed. Rounding
differs between the two libraries as it does between processors.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_SMALLEST = 2**21
"""Multiplications from which on oneDNN, whose calls take longer, is faster."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Find x @ weight.T + bias, differentiable, like `torch.nn.functional.linear`.

    Parameters
    ----------
    x
        Shape (..., inputs).
    weight, bias
        Shapes (outputs, inputs) and (outputs,).
    """
    if not _is_for_onednn(x, weight.numel()):
        return functional.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        found: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return found
    return _by_onednn(x, weight, bias)


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Find a @ b for shapes (n, k) and (k, m), without a gradient; it is put into `out`, if any."""
    if not _is_for_onednn(a, b.numel()):
        return torch.mm(a, b, out=out)
    found = _by_onednn(a, b.T, None)
    return found if out is None else out.copy_(found)


class Linear(nn.Linear):
    """`torch.nn.Linear` with the faster product; its state is the same."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """From (..., inputs) to (..., outputs)."""
        return linear(input, self.weight, self.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        g_x = product(rows, weight).view_as(x) if wants_x else None
        g_weight = product(rows.T, x.reshape(-1, x.shape[-1])) if wants_weight else None
        return g_x, g_weight, rows.sum(dim=0) if wants_bias else None


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


def _is_for_onednn(x: Tensor, outputs_times_inputs: int) -> bool:
    """Whether a product of x's rows with a matrix of that many numbers is oneDNN's."""
    rows = x.numel() // max(x.shape[-1], 1)
    return (
        rows * outputs_times_inputs >= _SMALLEST
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and _onednn_is_faster()
        and not torch.is_autocast_enabled("cpu")
        and not torch.onnx.is_in_onnx_export()
    )


@cache
def _onednn_is_faster() -> bool:
    """Whether this is an AMD processor with AVX-512, and PyTorch has oneDNN's product."""
    if not hasattr(torch.cpu, "get_capabilities"):  # PyTorch 2.6
        return False
    features = torch.cpu.get_capabilities()
    return (
        "AMD" in str(features.get("cpu_name", ""))
        and bool(features.get("avx512_f"))
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
