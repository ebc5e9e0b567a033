"""Distance to the nearest training clips of either domain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough, unit_rows
from asd.backends.neighbours import Neighbours
from asd.backends.smote import count_synthetic, synthetic_target
from asd.schema.values import Count, Range, Share


@dataclass(kw_only=True)
class Knn(Backend):
    """Mean distance to the k nearest source clips or to the k nearest target clips: the smaller.

    Without target clips the score is the distance to source clips alone.

    Parameters
    ----------
    k_source
        Neighbours in the source domain.
    k_target
        Neighbours in the target domain; 0 leaves the domain out.
    smote_ratio
        Above 0: the target domain is filled up with synthetic clips to this share of the source
        clips, see `asd.backends.smote`; for unit rows these are brought to unit length again.
    smote_neighbours
        Neighbours that synthetic clips are drawn between.
    """

    k_source: Count = 1
    k_target: Annotated[int, Range(0)] = 1
    smote_ratio: Share = 0.0
    smote_neighbours: Count = 2

    array_names = ("source", "target")

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        """The source rows and the target rows (none where they do not count)."""
        source, target = rows[~is_target], rows[is_target]
        check_enough("source", len(source), "k_source", self.k_source)
        if not self.k_target or not len(target):
            return {"source": source, "target": target[:0]}
        if self.smote_ratio:
            made = synthetic_target(rows, is_target, self.smote_ratio, self.smote_neighbours)
            made = made if self.metric == "euclidean" else unit_rows(made)
            target = np.vstack([target, made])
        check_enough("target", len(target), "k_target", self.k_target)
        return {"source": source, "target": target}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Scores in units of the metric."""
        domains = [(Neighbours(arrays["source"], self.metric), self.k_source)]
        if len(arrays["target"]):
            domains.append((Neighbours(arrays["target"], self.metric), self.k_target))

        def scores(rows: Array) -> Array:
            means = [references.smallest(rows, k).mean(axis=1) for references, k in domains]
            smaller: Array = np.minimum.reduce(means)
            return smaller

        return scores

    def adds_synthetic(self, is_target: NDArray[np.bool_]) -> bool:
        """Whether SMOTE adds any clip to a reference set of these clips, shape (clips,)."""
        n_target = int(is_target.sum())
        usable = bool(self.k_target and n_target)
        return usable and count_synthetic(len(is_target) - n_target, n_target, self.smote_ratio) > 0
