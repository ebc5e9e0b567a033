"""Distances to the nearest of many references, as modules from rows (n, dim)."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from asd.backends.base import Array, squared_lengths
from asd.backends.mem_mixup import Mixtures
from asd.backends.rescale import SMALLEST_DENSITY


class NearestReferences(nn.Module):
    """Mean of the k smallest of scale · distance - offset; with `is_log`, of their logarithms.

    Parameters
    ----------
    references
        Shape (n_references, dim).
    metric
        See `asd.backends.neighbours.measure`.
    scale, offset
        Shape (n_references,), or None for 1 and 0.
    """

    def __init__(
        self,
        references: Array,
        metric: str,
        k: int,
        scale: Array | None = None,
        offset: Array | None = None,
        is_log: bool = False,
    ) -> None:
        super().__init__()
        self.metric, self.k, self.is_log = metric, k, is_log
        centre = references.mean(axis=0)
        centred = references - centre
        self.register_buffer("centre", single(centre))
        self.register_buffer("references", single(centred))
        self.register_buffer("lengths", single(squared_lengths(centred)))
        count = len(references)
        self.register_buffer("scale", single(np.ones(count) if scale is None else scale))
        self.register_buffer("offset", single(np.zeros(count) if offset is None else offset))

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,).

        As in `asd.backends.neighbours.Neighbours`, products tell which references are nearest,
        seen from their mean, and differences how near they are.
        """
        references, scale, offset = map(self.get_buffer, ("references", "scale", "offset"))
        rows = rows - self.get_buffer("centre")
        squared = squared_to(rows, references, self.get_buffer("lengths"))
        values = measured(squared, self.metric) * scale - offset
        chosen = values.topk(self.k, dim=1, largest=False).indices
        exact = (rows[:, None] - references[chosen]).square().sum(dim=2)
        values = measured(exact, self.metric) * scale[chosen] - offset[chosen]
        if self.is_log:
            values = values.clamp_min(SMALLEST_DENSITY).log()
        return values.mean(dim=1)


class NearestMixtures(nn.Module):
    """Mean of the k smallest distances to target clips and their mixtures with source clips.

    Parameters
    ----------
    mixtures
        Of `asd.backends.mem_mixup`; as there, only the clips are held, not the mixtures.
    metric
        See `asd.backends.neighbours.measure`.
    """

    def __init__(self, mixtures: Mixtures, metric: str, k: int) -> None:
        super().__init__()
        self.metric, self.k = metric, k
        centre = mixtures.target.mean(axis=0)
        self.register_buffer("centre", single(centre))
        for name, own in (("target", mixtures.target), ("source", mixtures.source)):
            self.register_buffer(name, single(own - centre))
            self.register_buffer(f"{name}_lengths", single(squared_lengths(own - centre)))
        for name, values in (("t", mixtures.t), ("s", mixtures.s)):
            self.register_buffer(name, torch.from_numpy(values.astype(np.int64)))
        for name, array in (
            ("share", mixtures.b), ("between", mixtures.between), ("length", mixtures.length),
        ):  # fmt: skip
            self.register_buffer(name, single(array))

    def forward(self, rows: Tensor) -> Tensor:
        """Scores of rows (n, dim), shape (n,)."""
        centred = rows - self.get_buffer("centre")
        chosen = self._squared(rows, centred).topk(self.k, dim=1, largest=False).indices
        exact = (centred[:, None] - self._mixtures(chosen)).square().sum(dim=2)
        return measured(exact, self.metric).mean(dim=1)

    def _squared(self, rows: Tensor, centred: Tensor) -> Tensor:
        """Squared distances to all mixtures, shape (n, mixtures)."""
        to_target, to_source = (
            squared_to(centred, self.get_buffer(name), self.get_buffer(f"{name}_lengths"))
            for name in ("target", "source")
        )
        share, length = self.get_buffer("share"), self.get_buffer("length")
        squared = (1 - share) * to_target[:, self.get_buffer("t")]
        squared = squared + share * to_source[:, self.get_buffer("s")] - self.get_buffer("between")
        if self.metric == "euclidean":
            return squared
        own = rows.square().sum(dim=1, keepdim=True)
        return own + 1 - (own + length.square() - squared) / length

    def _mixtures(self, chosen: Tensor) -> Tensor:
        """The chosen mixtures, seen from the target's mean, shape (n, k, dim)."""
        share = self.get_buffer("share")[chosen].unsqueeze(2)
        target = self.get_buffer("target")[self.get_buffer("t")[chosen]]
        source = self.get_buffer("source")[self.get_buffer("s")[chosen]]
        mixtures = (1 - share) * target + share * source
        if self.metric == "euclidean":
            return mixtures
        centre = self.get_buffer("centre")
        whole = mixtures + centre
        return whole / whole.square().sum(dim=2, keepdim=True).sqrt().clamp_min(1e-30) - centre


def squared_to(rows: Tensor, references: Tensor, lengths: Tensor) -> Tensor:
    """Squared distances of rows to references, of squared lengths `lengths`; shape (n, references).

    As one product with a bias, of which the exporter stores the references as they are: turned
    over they would stand in the file a second time.
    """
    own = rows.square().sum(dim=1, keepdim=True)
    return (own + linear(-2 * rows, references, lengths)).clamp_min(0.0)


def measured(squared: Tensor, metric: str) -> Tensor:
    """As `asd.backends.neighbours.measure`."""
    if metric == "cosine":
        return squared / 2
    return squared.sqrt() / 2 if metric == "half_chord" else squared.sqrt()


def single(array: Array) -> Tensor:
    """An array in single precision."""
    return torch.from_numpy(np.ascontiguousarray(array)).float()
