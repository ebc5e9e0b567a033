"""Detectors, a folder each, behind the interface in base.py."""

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asd.errors import UserError

if TYPE_CHECKING:
    from asd.systems.base import System

REGISTRY = {
    "DCASE2023T2-AE": "asd.systems.autoencoder.system:Autoencoder",
}
"""Name of a system -> where its class is; modules are imported only when a system is used."""


def system_class(name: str) -> "type[System]":
    """The class of a system.

    Raises
    ------
    UserError
        There is no system of this name.
    """
    if name not in REGISTRY:
        near = difflib.get_close_matches(name, REGISTRY, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"--model: {name!r} is unknown{hint}; choose from {', '.join(REGISTRY)}")
    module, _, attribute = REGISTRY[name].partition(":")
    found: type[System] = getattr(importlib.import_module(module), attribute)
    return found


def create_system(name: str, parameters: Mapping[str, Any]) -> "System":
    """A system with those of `parameters` that its constructor takes."""
    cls = system_class(name)
    taken = inspect.signature(cls).parameters
    return cls(**{key: value for key, value in parameters.items() if key in taken})
