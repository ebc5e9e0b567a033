"""Losses of the networks and the two parts of the anomaly score. Arrays in, arrays out.

Zenati et al., arXiv 1802.06222, section 3. Cross entropies are taken of logits l, with
sigmoid cross entropy(l, target 1) = log(1 + exp(-l)) and (l, target 0) = log(1 + exp(l)).
"""

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import softplus


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean cross entropy of real logits with target 1, plus that of fake ones with target 0."""
    return softplus(-real).mean() + softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Mean cross entropy of fake logits with target 1: the generator wants to pass for real."""
    return softplus(-fake).mean()


def encoder_loss(real: Tensor) -> Tensor:
    """Mean cross entropy of real logits with target 0: the encoder wants to pass for fake."""
    return softplus(real).mean()


def cycle_loss(x: Tensor, again: Tensor) -> Tensor:
    """Mean absolute difference of x and G(E(x)), over all values.

    The consistency term of CBiGAN, Carrara et al., ICPR 2020, arXiv 2011.08102.
    """
    return (x - again).abs().mean()


def norm_distance(first: Tensor, second: Tensor, degree: float) -> Tensor:
    """L_degree norm of each row's difference: (batch, width), twice -> (batch,)."""
    distance: Tensor = vector_norm(first - second, ord=degree, dim=1)
    return distance


def cross_entropy_score(logit: Tensor) -> Tensor:
    """Cross entropy with target 1, shape (batch,): high where a reconstruction looks unreal."""
    return softplus(-logit)


def combine(reconstruction: Tensor, discriminator: Tensor, weight: float) -> Tensor:
    """(1 - weight) * reconstruction + weight * discriminator; higher is more anomalous."""
    return (1 - weight) * reconstruction + weight * discriminator
