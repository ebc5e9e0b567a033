"""Backends: embeddings of normal clips in, anomaly scores of clips out."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from asd.backends.base import Backend
from asd.backends.gmm import Gmm
from asd.backends.kmeans import KMeans
from asd.backends.knn import Knn
from asd.backends.mahalanobis import Mahalanobis
from asd.backends.rescale import RescaledKnn
from asd.errors import UserError
from asd.words import closest

BACKENDS: dict[str, type[Backend]] = {
    "knn": Knn,
    "kmeans": KMeans,
    "rescaled_knn": RescaledKnn,
    "mahalanobis": Mahalanobis,
    "gmm": Gmm,
}
"""Name in a recipe -> class; its keyword parameters are the recipe's keys."""


def make_backend(name: str, parameters: Mapping[str, Any] | None = None) -> Backend:
    """An unfitted backend.

    Raises
    ------
    UserError
        An unknown name or key, or a value that a parameter cannot have.
    """
    if name not in BACKENDS:
        raise UserError(f"backend: unknown name {name!r}, {_nearest(name, BACKENDS)}")
    known = [parameter.name for parameter in fields(BACKENDS[name]) if parameter.init]
    for key in parameters or {}:
        if key not in known:
            raise UserError(f"backend {name}: unknown key {key!r}, {_nearest(key, known)}")
    try:
        return BACKENDS[name](**(parameters or {}))
    except UserError as error:
        raise UserError(f"backend {name}: {error}") from None


def _nearest(word: str, known: Iterable[str]) -> str:
    words = list(known)
    return f"did you mean {closest(str(word), words, cutoff=0.0)!r}? Known: {', '.join(words)}"
