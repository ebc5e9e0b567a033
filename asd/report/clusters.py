"""Maps of clusters that a network learned from."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from asd.report.embeddings import embedding_map

_MOST = 20
"""Classes that are told apart: a machine type of the challenge has up to 16 + 2 clusters."""


def cluster_map(
    points: npt.NDArray[np.float64],
    clusters: Sequence[str],
    truth: Sequence[str],
    title: str = "",
) -> Figure:
    """The map of a machine type's clips by cluster and, where it is known, by true class.

    Parameters
    ----------
    points
        Shape (clips, 2).
    clusters
        Name of each clip's cluster.
    truth
        Each clip's true class, "" where it is not known.
    """
    kinds = {"by cluster": clusters}
    if any(truth):
        kinds["by true class"] = [text or "unknown" for text in truth]
    return embedding_map(points, kinds, title, _MOST)
