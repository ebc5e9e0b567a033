"""Anomaly scores of vectors. Zenati et al., arXiv 1802.06222; higher is more anomalous."""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Generator, Tensor

from asd.errors import UserError
from asd.systems.gan.losses import combine, cross_entropy_score, norm_distance
from asd.systems.gan.models import BiGANNetworks, GANNetworks

CROSS_E: Final = "CROSS-E"
FM: Final = "FM"


@dataclass(frozen=True)
class Rule:
    """How a score is put together.

    Parameters
    ----------
    methods
        The discriminator terms wanted, of `CROSS_E` and `FM` (feature matching).
    weight
        Share of the discriminator term, from 0 to 1.
    degree
        Of the norms, above 0: 1 sums absolute differences, 2 is the Euclidean norm.

    Raises
    ------
    UserError
        A value is none of these.
    """

    methods: tuple[str, ...]
    weight: float
    degree: float

    def __post_init__(self) -> None:
        if not self.methods or not set(self.methods) <= {CROSS_E, FM}:
            raise UserError(f"m {', '.join(self.methods)!r}: choose {CROSS_E}, {FM} or both")
        if not 0 <= self.weight <= 1:
            raise UserError(f"w {self.weight}: the discriminator term's share is from 0 to 1")
        if not self.degree > 0:
            raise UserError(f"d {self.degree}: the degree of the norms is above 0, mostly 1 or 2")


@torch.no_grad()
def bigan_scores(networks: BiGANNetworks, x: Tensor, rule: Rule) -> Tensor:
    """Score vectors by encoding and generating them again.

    With z = E(x) and x' = G(z), the reconstruction term is the norm of x - x'. The discriminator
    term is the cross entropy of D(x', z) with target 1, or the norm of f(x, z) - f(x', z), f being
    the discriminator's last hidden layer.

    Parameters
    ----------
    x
        Shape (batch, width).

    Returns
    -------
    Tensor
        Shape (methods, batch).
    """
    z = networks.encoder(x)
    again = networks.generator(z)
    reconstruction = norm_distance(x, again, rule.degree)
    logit, features_again = networks.discriminator(again, z)
    scores = []
    for method in rule.methods:
        if method == CROSS_E:
            term = cross_entropy_score(logit)
        else:
            _, features = networks.discriminator(x, z)
            term = norm_distance(features, features_again, rule.degree)
        scores.append(combine(reconstruction, term, rule.weight))
    return torch.stack(scores)


def gan_scores(networks: GANNetworks, x: Tensor, z: Tensor, rule: Rule, steps: int) -> Tensor:
    """Score vectors by searching, for each, the latent vector whose score is lowest.

    The reconstruction term is the norm of x - G(z), the discriminator term the cross entropy of
    D(G(z)) with target 1, or the norm of f(x) - f(G(z)). Each method searches for itself, with
    Adam. Adam moves every value on its own, so a vector's score does not depend on its batch.

    Parameters
    ----------
    x
        Shape (batch, width).
    z
        Where the search starts, shape (batch, latent). It stays as it is.
    steps
        Of the search; 500 are published.

    Returns
    -------
    Tensor
        Shape (methods, batch).
    """
    searches = [_search(networks, x, z, rule, method, steps) for method in rule.methods]
    return torch.stack(searches)


def _gan_score(networks: GANNetworks, x: Tensor, z: Tensor, rule: Rule, method: str) -> Tensor:
    generated = networks.generator(z)
    logit, features = networks.discriminator(generated)
    if method == CROSS_E:
        term = cross_entropy_score(logit)
    else:
        with torch.no_grad():
            _, wanted = networks.discriminator(x)
        term = norm_distance(wanted, features, rule.degree)
    return combine(norm_distance(x, generated, rule.degree), term, rule.weight)


def _search(
    networks: GANNetworks, x: Tensor, z: Tensor, rule: Rule, method: str, steps: int
) -> Tensor:
    """Lowest scores found, shape (batch,)."""
    z = z.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=search_rate(0, steps), fused=True)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = search_rate(step, steps)
        (z.grad,) = torch.autograd.grad(_gan_score(networks, x, z, rule, method).sum(), z)
        optimiser.step()
    with torch.no_grad():
        return _gan_score(networks, x, z, rule, method)


def search_rate(step: int, steps: int) -> float:
    """Learning rate of a step of the search, steps from 0.

    Published: 0.01 up to step 300 of 500, 0.001 up to step 400, then 0.0005. Shorter searches
    change over at the same shares.
    """
    if step < 0.6 * steps:
        return 0.01
    return 0.001 if step < 0.8 * steps else 0.0005


def first_latents(count: int, width: int, seed: int) -> Tensor:
    """Where searches start: shape (count, width), normal numbers cut off beyond 2 (published).

    They are drawn on the CPU, value by value, so that the first rows are the same for any `count`.
    """
    random = Generator().manual_seed(seed)
    inside = math.erf(2 / math.sqrt(2))  # the share of a normal distribution within 2
    uniform = torch.rand(count, width, generator=random, dtype=torch.float64)
    return (math.sqrt(2) * torch.erfinv(inside * (2 * uniform - 1))).float()
