"""Backends: embeddings of normal clips in, anomaly scores of clips out."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough, unit_rows
from asd.backends.registry import SINGLE, find_backend, nearest_of
from asd.backends.z_min import ZMin
from asd.errors import UserError

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

BACKENDS: dict[str, type[Backend]] = {**SINGLE, "z_min": ZMin}
"""Name in a recipe -> class; its keyword parameters are the recipe's keys."""


def backend_class(name: str) -> type[Backend]:
    """The class of a name in a recipe, of "file.py:Class", or of an entry point's name.

    Raises
    ------
    UserError
        There is none.
    """
    return find_backend(name, BACKENDS)


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
            raise UserError(f"backend {name}: unknown key {key!r}, {nearest_of(key, known)}")
    try:
        return make(**(parameters or {}))
    except UserError as error:
        raise UserError(f"backend {name}: {error}") from None
