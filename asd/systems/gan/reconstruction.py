"""How much of the data a BiGAN's reconstruction carries."""

import torch
from torch import Tensor

from asd.systems.gan.models import BiGANNetworks

_AT_ONCE = 128
"""Vectors reconstructed together: a thousand images of 64 x 128 would take 4 GB."""


@torch.no_grad()
def reconstruction_ratio(networks: BiGANNetworks, x: Tensor) -> float:
    """Mean absolute error of G(E(x)), relative to that of the mean of x.

    From 1 on the reconstruction tells nothing about x that the mean does not: a score of it can
    only tell how far x is from everything.

    Parameters
    ----------
    networks
        Put in evaluation mode by the caller.
    x
        Shape (vectors, width).

    Returns
    -------
    float
        NaN where all vectors are the same.
    """
    parts = torch.split(x, _AT_ONCE)
    errors = [(part - networks.generator(networks.encoder(part))).abs().sum() for part in parts]
    error = torch.stack(errors).sum() / x.numel()
    of_mean = (x - x.mean(dim=0)).abs().mean()
    return float(error / of_mean) if of_mean > 0 else float("nan")
