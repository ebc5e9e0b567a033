"""Distance to the nearest training clips of either domain, each in that domain's own scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough
from asd.backends.neighbours import Neighbours, nearest_others
from asd.schema.values import Count

SMALLEST_SCALE = 1e-6
"""Least scale of a domain, as a share of the larger one: keeps scores finite at copies."""


@dataclass(kw_only=True)
class DomainScaledKnn(Backend):
    """The smaller of a clip's distances to the source and the target clips, each scaled.

    The distance to a domain is the mean over its k nearest clips. Its scale comes from the same
    distances of the domain's training clips to the others of their domain; test clips play no
    part. Unlike `RescaledKnn` this needs domain labels, and has two scales, not one per clip.
    Without target clips the source stands alone; without source clips, the target.
    Source of "median": the SCOPE system of the DCASE 2026 Challenge.

    Parameters
    ----------
    k_source, k_target
        Neighbours in either domain. The target domain needs one clip more than `k_target`.
    by
        "median": the distance is divided by the median of the training clips' own. "standard":
        their mean is taken off, and the rest divided by their standard deviation; scores may be
        negative.
    """

    k_source: Count = 1
    k_target: Count = 1
    by: Literal["median", "standard"] = "median"

    array_names = ("source", "target", "scales")

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        """The rows of either domain, and offset and scale of each, shape (2, 2)."""
        domains = {"source": rows[~is_target], "target": rows[is_target]}
        scales = np.array([[0.0, 0.0], [0.0, 0.0]])
        for at, (name, own, k) in enumerate(self._with_k(domains)):
            if len(own):
                check_enough(name, len(own), f"k_{name}", k + 1)
                scales[at] = self._scale(nearest_others(own, k, self.metric)[1].mean(axis=1))
        return {**domains, "scales": scales}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Scores without unit: about 1 ("median") or 0 ("standard") for clips like training's."""
        offsets, scales = arrays["scales"].T
        scales = np.maximum(scales, SMALLEST_SCALE * scales.max()) if scales.any() else scales + 1
        domains = [
            (Neighbours(own, self.metric), k, offset, scale)
            for (_, own, k), offset, scale in zip(
                self._with_k(arrays), offsets, scales, strict=True
            )
            if len(own)
        ]

        def scores(rows: Array) -> Array:
            scaled = [
                (references.smallest(rows, k).mean(axis=1) - offset) / scale
                for references, k, offset, scale in domains
            ]
            smaller: Array = np.minimum.reduce(scaled)
            return smaller

        return scores

    def _with_k(self, domains: Mapping[str, Array]) -> list[tuple[str, Array, int]]:
        neighbours = (("source", self.k_source), ("target", self.k_target))
        return [(name, domains[name], k) for name, k in neighbours]

    def _scale(self, distances: Array) -> tuple[float, float]:
        if self.by == "median":
            return 0.0, float(np.median(distances))
        return float(distances.mean()), float(distances.std())
