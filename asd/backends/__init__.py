"""Backends: embeddings of normal clips in, anomaly scores of clips out."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough, unit_rows
from asd.backends.domain_scaled import DomainScaledKnn
from asd.backends.gmm import Gmm
from asd.backends.kmeans import KMeans
from asd.backends.knn import Knn
from asd.backends.mahalanobis import Mahalanobis
from asd.backends.rescale import RescaledKnn
from asd.errors import UserError
from asd.extensions import entry_points_of, is_reference, load_class
from asd.words import closest

__all__ = [
    "BACKENDS",
    "Array",
    "Arrays",
    "Backend",
    "Scorer",
    "backend_class",
    "check_enough",
    "make_backend",
    "unit_rows",
]

BACKENDS: dict[str, type[Backend]] = {
    "knn": Knn,
    "kmeans": KMeans,
    "rescaled_knn": RescaledKnn,
    "domain_scaled_knn": DomainScaledKnn,
    "mahalanobis": Mahalanobis,
    "gmm": Gmm,
}
"""Name in a recipe -> class; its keyword parameters are the recipe's keys."""


def backend_class(name: str) -> type[Backend]:
    """The class of a name in a recipe, of "file.py:Class", or of an entry point's name.

    Raises
    ------
    UserError
        There is none.
    """
    if name in BACKENDS:
        return BACKENDS[name]
    reference = entry_points_of("asd.backends").get(name, name)
    if not is_reference(reference):
        raise UserError(f"backend: unknown name {name!r}, {_nearest(name, BACKENDS)}")
    return load_class(reference, Backend, "backend")


def make_backend(kind: str | type[Backend], parameters: Mapping[str, Any] | None = None) -> Backend:
    """An unfitted backend.

    Parameters
    ----------
    kind
        A name of `BACKENDS`, or a class of your own.
    parameters
        Its keyword parameters.

    Raises
    ------
    UserError
        An unknown name or key, or a value that a parameter cannot have.
    """
    make, name = (kind, kind.__name__) if isinstance(kind, type) else (backend_class(kind), kind)
    known = [parameter.name for parameter in fields(make) if parameter.init]
    for key in parameters or {}:
        if key not in known:
            raise UserError(f"backend {name}: unknown key {key!r}, {_nearest(key, known)}")
    try:
        return make(**(parameters or {}))
    except UserError as error:
        raise UserError(f"backend {name}: {error}") from None


def _nearest(word: str, known: Iterable[str]) -> str:
    words = list(known)
    return f"did you mean {closest(str(word), words, cutoff=0.0)!r}? Known: {', '.join(words)}"
