"""A target domain of few clips, filled up with mixtures of its clips and source clips."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import (
    Array,
    Arrays,
    Backend,
    Metric,
    Scorer,
    blocks,
    check_enough,
    squared_lengths,
    unit_rows,
)
from asd.backends.neighbours import ROWS_AT_ONCE, Indices, Neighbours, measure
from asd.schema.values import Count, Range, Share


@dataclass(kw_only=True)
class MemMixup(Backend):
    """Mean distance to the k nearest source or the k nearest target clips: the smaller.

    The target clips' bank also holds, for each target clip t and each of its `mixed` nearest source
    clips s, the mixture (1 - share) t + share s, with "cosine" and "half_chord" brought to unit
    length again. Source: GenRep (P. Saengthong, T. Shinozaki, "Deep generic representations for
    domain-generalized anomalous sound detection", ICASSP 2025), which takes Euclidean distances,
    all source clips and a share of 0.1. What it does next, to standardise by the test clips' own
    scores, is left out: `domain_scaled_knn` does so by training clips.

    Parameters
    ----------
    k_source, k_target
        Neighbours in either domain.
    mixed
        Source clips that each target clip is mixed with; null takes all.
    share
        Share of the source clip in a mixture.
    """

    metric: Metric = "euclidean"
    k_source: Count = 1
    k_target: Count = 1
    mixed: Annotated[int, Range(0)] | None = None
    share: Share = 0.1

    array_names = ("source", "target")

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        """The source rows and the target rows; mixtures are made when they are asked for."""
        source, target = rows[~is_target], rows[is_target]
        check_enough("source", len(source), "k_source", self.k_source)
        if len(target):
            n_mixed = len(source) if self.mixed is None else min(self.mixed, len(source))
            if len(target) * (1 + n_mixed) < self.k_target:
                check_enough("target", len(target), "k_target", self.k_target)
        return {"source": source, "target": target}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Scores in units of the metric."""
        source = Neighbours(arrays["source"], self.metric)

        def to_source(rows: Array) -> Array:
            nearest: Array = source.smallest(rows, self.k_source).mean(axis=1)
            return nearest

        if not len(arrays["target"]):
            return to_source
        bank = self.mixtures(arrays)

        def scores(rows: Array) -> Array:
            to_target = bank.smallest(rows, self.k_target).mean(axis=1)
            smaller: Array = np.minimum(to_source(rows), to_target)
            return smaller

        return scores

    def mixtures(self, arrays: Mapping[str, Array]) -> "Mixtures":
        """The target clips' bank, of what `learn` gave."""
        return Mixtures(arrays["source"], arrays["target"], self.mixed, self.share, self.metric)


class Mixtures:
    """Target clips and their mixtures with source clips, of which only the parts are held.

    All mixtures of 10 and 990 clips of 6,144 values would take 0.5 GB. The squared distance of x to
    a t + b s with a + b = 1 is a |x - t|² + b |x - s|² - a b |t - s|²: by that the nearest ones are
    found, and their distances are then computed from differences.
    """

    def __init__(
        self, source: Array, target: Array, mixed: int | None, share: float, metric: str
    ) -> None:
        self.source, self.target, self.metric = source, target, metric
        between = _squared_distances(target, source)
        n_mixed = len(source) if mixed is None else min(mixed, len(source))
        chosen = np.argsort(between, axis=1, kind="stable")[:, :n_mixed]
        # Pairs (target, source, share): first the target clips themselves.
        self.t = np.concatenate([np.arange(len(target)), np.repeat(range(len(target)), n_mixed)])
        self.s = np.concatenate([np.zeros(len(target), np.intp), chosen.ravel()])
        self.b = np.where(np.arange(len(self.t)) < len(target), 0.0, share)
        self.between = (1 - self.b) * self.b * between[self.t, self.s]
        # |a t + b s|, which mixtures are divided by where the metric wants unit length.
        squared = (1 - self.b) * squared_lengths(target)[self.t] - self.between
        squared += self.b * squared_lengths(source)[self.s]
        self.length = np.sqrt(np.maximum(squared, np.finfo(np.float64).tiny))

    def smallest(self, rows: Array, k: int) -> Array:
        """The k smallest distances of each row, ascending; shape (n, k)."""
        chosen = self._choose(rows, k)
        squared = np.empty(chosen.shape)
        for block in blocks(len(rows), ROWS_AT_ONCE):
            difference = self._mixtures(chosen[block]) - rows[block, None]
            squared[block] = np.einsum("nkd,nkd->nk", difference, difference)
        return np.sort(measure(squared, self.metric), axis=1)

    def _choose(self, rows: Array, k: int) -> Indices:
        to_target = _squared_distances(rows, self.target)[:, self.t]
        to_source = _squared_distances(rows, self.source)[:, self.s]
        squared = (1 - self.b) * to_target + self.b * to_source - self.between
        if self.metric != "euclidean":  # |x - m/l|² = |x|² + 1 - 2 x·m/l, where l = |m|
            own, length = squared_lengths(rows)[:, None], self.length
            squared = own + 1 - (own + np.square(length) - squared) / length
        if k == 1:
            nearest: Indices = squared.argmin(axis=1)[:, None]
            return nearest
        found: Indices = np.argpartition(squared, k - 1, axis=1)[:, :k]
        return found

    def _mixtures(self, chosen: Indices) -> Array:
        """The chosen mixtures, shape (n, k, dim)."""
        b = self.b[chosen][..., None]
        mixtures: Array = (1 - b) * self.target[self.t[chosen]] + b * self.source[self.s[chosen]]
        if self.metric == "euclidean":
            return mixtures
        unit = unit_rows(mixtures.reshape(-1, mixtures.shape[-1]))
        return unit.reshape(mixtures.shape)


def _squared_distances(rows: Array, others: Array) -> Array:
    """Squared Euclidean distances, shape (n, others); seen from the mean of the others."""
    centre = others.mean(axis=0)
    a, b = rows - centre, others - centre
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0))
