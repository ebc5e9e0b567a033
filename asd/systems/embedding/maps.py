"""Places of embeddings in few dimensions (UMAP)."""

import sys
import warnings
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asd.errors import UserError

_NEIGHBOURS = 15
_FEWEST = 5
"""Embeddings that UMAP needs; fewer are put on their principal axes."""


def umap_map(
    embeddings: NDArray[np.floating],
    seed: int,
    *,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    dimensions: int = 2,
    hint: str = "",
) -> NDArray[np.float64]:
    """UMAP with its defaults, shape (clips, dimensions); with a seed it runs on one thread.

    Source: McInnes, Healy and Melville, arXiv 1802.03426.

    Parameters
    ----------
    hint
        What else can be done where umap-learn is not installed, for the message.

    Raises
    ------
    UserError
        umap-learn is not installed.
    """
    if len(embeddings) < max(_FEWEST, dimensions + 2) or _are_alike(embeddings):
        return principal_map(embeddings, dimensions)
    check_umap(hint)
    from umap import UMAP  # takes seconds

    neighbours = min(_NEIGHBOURS, len(embeddings) - 1)
    # A spectral start needs more clips than neighbours.
    init = "spectral" if len(embeddings) > 2 * neighbours else "random"
    model = UMAP(
        n_neighbors=neighbours,
        n_components=dimensions,
        metric=metric,
        init=init,
        random_state=seed,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it thinks of isolated points
        return np.asarray(model.fit_transform(embeddings), dtype=np.float64)


def check_umap(hint: str = "") -> None:
    """Refuse to go on without umap-learn; `hint` says what else can be done.

    Raises
    ------
    UserError
        It is not installed.
    """
    if "umap" in sys.modules:
        found = sys.modules["umap"] is not None
    else:
        found = find_spec("umap") is not None
    if not found:
        raise UserError(
            f"umap-learn is not installed; pip install 'asd[umap]'{hint and ', ' + hint}"
        )


def principal_map(embeddings: NDArray[np.floating], dimensions: int) -> NDArray[np.float64]:
    """Embeddings on their first principal axes, shape (clips, dimensions); zeros fill up."""
    rows = embeddings.astype(np.float64)
    rows = rows - rows.mean(axis=0)
    left, scale, _ = np.linalg.svd(rows, full_matrices=False)
    found = np.zeros((len(rows), dimensions))
    kept = min(dimensions, len(scale))
    found[:, :kept] = left[:, :kept] * scale[:kept]
    return found


def _are_alike(embeddings: NDArray[np.floating]) -> bool:
    spread = float(np.ptp(embeddings, axis=0).max())
    return spread <= 1e-6 * float(np.abs(embeddings).max())
