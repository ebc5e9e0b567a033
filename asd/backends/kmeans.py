"""Distance to centres of the source clips and to each target clip."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough, unit_rows
from asd.backends.neighbours import Neighbours
from asd.schema.values import Count


@dataclass(kw_only=True)
class KMeans(Backend):
    """Distance to the nearest of k-means centres of the source clips and all target clips.

    Without target clips the centres alone are the references.
    Source: K. Wilkinghoff, "Design choices for learning embeddings from auxiliary tasks for domain
    generalization in anomalous sound detection", ICASSP 2023.

    Parameters
    ----------
    n_clusters
        Centres in the source domain.
    n_init
        Runs of k-means from different starts, of which the best is kept. 1 as in
        dcase-asd-toolkit; unlabeledasd used 10.
    unit_centres
        For unit rows: whether centres, means of unit rows, are brought to unit length again.
        False with cosine gives 1 - (row · centre), as unlabeledasd scores.
    """

    n_clusters: Count = 16
    n_init: Count = 1
    unit_centres: bool = True

    array_names = ("references",)

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        """Centres first, then the target rows."""
        from sklearn import cluster  # most of a second, and only fitting needs it

        source = rows[~is_target]
        check_enough("source", len(source), "n_clusters", self.n_clusters)
        kmeans = cluster.KMeans(self.n_clusters, n_init=self.n_init, random_state=0).fit(source)
        centres = kmeans.cluster_centers_
        if self.metric != "euclidean" and self.unit_centres:
            centres = unit_rows(centres)
        return {"references": np.vstack([centres, rows[is_target]])}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Scores in units of the metric."""
        references = arrays["references"]
        if self.metric == "cosine" and not self.unit_centres:
            return lambda rows: 1 - (rows @ references.T).max(axis=1)
        nearest = Neighbours(references, self.metric)
        return lambda rows: nearest.smallest(rows, 1)[:, 0]
