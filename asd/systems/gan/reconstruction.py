"""How much of the data a BiGAN's reconstruction carries."""

import torch
from torch import Tensor

from asd.systems.gan.models import BiGANNetworks


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
    error = (x - networks.generator(networks.encoder(x))).abs().mean()
    of_mean = (x - x.mean(dim=0)).abs().mean()
    return float(error / of_mean) if of_mean > 0 else float("nan")
