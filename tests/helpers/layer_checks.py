"""Arrays and gradients for tests of layers that compute again."""

import torch

EPS = 1e-5
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def images(*shape: int) -> torch.Tensor:
    """Random arrays, channels last, whose mean is not zero."""
    x = torch.randn(*shape, dtype=torch.float64) + 0.5
    return x.contiguous(memory_format=torch.channels_last)


def gradients(outputs, inputs):
    """Gradients of a sum of the outputs in which every value has its own weight."""
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(y.shape, generator=generator, dtype=torch.float64) for y in outputs]
    total = sum((y * w).sum() for y, w in zip(outputs, weights, strict=True))
    return torch.autograd.grad(total, inputs, retain_graph=True)
