"""Pooling: the tokens that an encoder gives of a clip, brought to one vector or one per band.

Everything here is a function of tokens of shape (clips, time, bands, dim). A recipe names a
pooling by its class and its keys,

    pooling: {class: rdp_gem, gamma: 16, p: 3}
    pooling: {class: rdp, gamma: 4, over: band}
    pooling: mean

and `Pooling.key()` is what stored embeddings depend on. One of your own derives from `Pooling` and
goes by `class: my_file.py:MyPooling`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from asd.errors import UserError
from asd.extensions import absolute_reference, is_reference, load_class
from asd.schema.node import Node
from asd.schema.parameters import plain
from asd.schema.values import NonNegative, Positive, Share

Over: TypeAlias = Literal["tokens", "band", "frame"]


@dataclass(frozen=True, kw_only=True)
class Pooling(ABC):
    """Brings the tokens of a clip to few vectors.

    Parameters
    ----------
    over
        What is pooled. "tokens": all tokens of the clip alike, to one vector of `dim` values.
        "band": the tokens of each band over time, to a vector of `dim` values per band. "frame":
        all bands of a moment side by side, over time, to one vector of `bands * dim` values.
    """

    name: ClassVar[str] = ""

    over: Over = "tokens"

    @abstractmethod
    def pool(self, z: Tensor) -> Tensor:
        """Vectors z of shape (..., n, width), floating point, to one of shape (..., width)."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Pooled tokens.

        Parameters
        ----------
        tokens
            Shape (clips, time, bands, dim). Those of half precision are pooled in float32.

        Returns
        -------
        Tensor
            Shape (clips, 1, dim) with "tokens", (clips, bands, dim) with "band", and
            (clips, 1, bands * dim) with "frame".
        """
        wide = tokens.to(torch.promote_types(tokens.dtype, torch.float32))
        if self.over == "tokens":
            return self.pool(wide.flatten(1, 2))[:, None]
        if self.over == "frame":
            return self.pool(wide.flatten(2))[:, None]
        return self.pool(wide.transpose(1, 2))

    def shape(self, bands: int, dim: int) -> tuple[int, int]:
        """Vectors of a clip, and their width, for an encoder's bands and width."""
        vectors = {"tokens": (1, dim), "band": (bands, dim), "frame": (1, bands * dim)}
        return vectors[self.over]

    def key(self) -> dict[str, Any]:
        """What pooled values depend on, as JSON knows it; parameters in the order of names."""
        values = {each.name: plain(getattr(self, each.name)) for each in fields(self)}
        return {"class": self.name or _reference(type(self)), **dict(sorted(values.items()))}

    def to_plain(self) -> dict[str, Any]:
        """The pooling as it stands in a recipe."""
        return self.key()

    @classmethod
    def from_node(cls, node: Node) -> "Pooling":
        """The pooling that a recipe names: a class, or a mapping of `class` and its keys.

        Raises
        ------
        UserError
            The class or a key is unknown, or a value cannot be.
        """
        entries = node.items() if node.is_mapping() else {"class": node}
        if "class" not in entries:
            raise node.error(f"key 'class' is missing; choose from {', '.join(POOLINGS)}")
        found = _class_of(entries.pop("class"))
        arguments: dict[str, Any] = node.read_arguments(found, entries)
        return found(**arguments)


@dataclass(frozen=True, kw_only=True)
class Mean(Pooling):
    """The mean."""

    name = "mean"

    def pool(self, z: Tensor) -> Tensor:
        return z.mean(dim=-2)


@dataclass(frozen=True, kw_only=True)
class Max(Pooling):
    """The largest value of each dimension."""

    name = "max"

    def pool(self, z: Tensor) -> Tensor:
        return z.amax(dim=-2)


@dataclass(frozen=True, kw_only=True)
class GeM(Pooling):
    """Generalised mean: (mean of max(z, 0)^p)^(1/p), in each dimension.

    Source: F. Radenovic, G. Tolias, O. Chum, "Fine-tuning CNN image retrieval with no human
    annotation", TPAMI 2019, equation 3. 1 is the mean of the positive parts; the larger p, the
    nearer to the largest value.
    """

    name = "gem"

    p: Positive = 3.0

    def pool(self, z: Tensor) -> Tensor:
        return power_mean(z, self.p)


@dataclass(frozen=True, kw_only=True)
class Gwrp(Pooling):
    """Global weighted rank pooling: values of each dimension in descending order, weighted r^n.

    Weights r^0, r^1, ... are divided by their sum: r of 0 takes the largest value, 1 the mean.
    Source: A. Kolesnikov, C. Lampert, "Seed, expand and constrain", ECCV 2016, equation 2.
    """

    name = "gwrp"

    r: Share = 0.9

    def pool(self, z: Tensor) -> Tensor:
        ranks = torch.arange(z.shape[-2], dtype=z.dtype, device=z.device)
        weights = torch.as_tensor(self.r, dtype=z.dtype, device=z.device) ** ranks
        ordered = z.sort(dim=-2, descending=True).values
        return torch.einsum("...nd,n->...d", ordered, weights / weights.sum())


@dataclass(frozen=True, kw_only=True)
class Rdp(Pooling):
    """Mean in which vectors far from the plain mean count more (relative deviation pooling).

    See `deviation_weights`. 0 is the mean.
    """

    name = "rdp"

    gamma: NonNegative = 4.0

    def pool(self, z: Tensor) -> Tensor:
        return torch.einsum("...nd,...n->...d", z, deviation_weights(z, self.gamma))


@dataclass(frozen=True, kw_only=True)
class RdpGeM(Pooling):
    """Generalised mean with the weights of relative deviation pooling.

    (sum of w max(z, 0)^p)^(1/p), with w of the vectors as they are (`deviation_weights`). Source:
    arXiv 2603.04605, which takes gamma 16 and p 3 with BEATs, and gamma 9 with any encoder.
    """

    name = "rdp_gem"

    gamma: NonNegative = 16.0
    p: Positive = 3.0

    def pool(self, z: Tensor) -> Tensor:
        return power_mean(z, self.p, deviation_weights(z, self.gamma))


POOLINGS: dict[str, type[Pooling]] = {
    each.name: each for each in (Mean, Max, GeM, Gwrp, Rdp, RdpGeM)
}
"""Name in a recipe -> class; its keyword parameters are the recipe's keys."""


def power_mean(z: Tensor, p: float, weights: Tensor | None = None) -> Tensor:
    """(sum of w max(z, 0)^p)^(1/p) over the last axis but one; all w alike by default.

    Parameters
    ----------
    z
        Shape (..., n, width).
    weights
        Shape (..., n), of sum 1.
    """
    positive = z.clamp_min(0)
    # In shares of the largest value, as the power of a large one would be infinite.
    top = positive.amax(dim=-2, keepdim=True)
    shares = (positive / top.clamp_min(torch.finfo(z.dtype).tiny)) ** p
    if weights is None:
        means = shares.mean(dim=-2)
    else:
        means = torch.einsum("...nd,...n->...d", shares, weights)
    return top.squeeze(-2) * means ** (1 / p)


def deviation_weights(z: Tensor, gamma: float) -> Tensor:
    """Weights of relative deviation pooling, shape (..., n), of sum 1.

    With d the distance of each vector from the mean of all n, and m the largest of these:
    w = (1 + d / m)^gamma, divided by the sum. Vectors that are all alike have equal weights.
    Source: arXiv 2603.04605.

    Parameters
    ----------
    z
        Shape (..., n, width).
    gamma
        0 or more; 0 gives equal weights.
    """
    distance = torch.linalg.vector_norm(z - z.mean(dim=-2, keepdim=True), dim=-1)
    largest = distance.amax(dim=-1, keepdim=True)
    # Below this it is what rounding leaves of vectors that are alike.
    length = torch.linalg.vector_norm(z, dim=-1).amax(dim=-1, keepdim=True)
    noise = 4 * torch.finfo(z.dtype).eps * length + torch.finfo(z.dtype).tiny
    relative = torch.where(largest > noise, distance / largest.clamp_min(noise), 0)
    return torch.softmax(gamma * torch.log1p(relative), dim=-1)


def _class_of(entry: Node) -> type[Pooling]:
    kind = absolute_reference(str(entry.scalar()), Path(entry.file).parent, Path())
    if not is_reference(kind):
        return POOLINGS[entry.choose(list(POOLINGS))]
    try:
        return load_class(kind, Pooling, "pooling")
    except UserError as error:
        raise entry.error(str(error)) from None


def _reference(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"
