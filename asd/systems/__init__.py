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
    "BiGAN": "asd.systems.gan.system:BiGAN",
    "GAN": "asd.systems.gan.system:GAN",
}
"""Name of a system -> where its class is; modules are imported only when a system is used."""

_ADVERSARIAL = {"epochs": 50, "learning_rate": 1e-4, "score": "all"}

_OWN_PARAMETERS: dict[str, dict[str, Any]] = {"BiGAN": _ADVERSARIAL, "GAN": _ADVERSARIAL}
"""Parameters of systems that differ from those of the baseline."""


def own_parameters(name: str) -> dict[str, Any]:
    """Parameters that a system brings along, in place of the baseline's.

    Raises
    ------
    UserError
        There is no system of this name.
    """
    if name not in REGISTRY:
        raise _unknown(name)
    return {"export_dir": name, **_OWN_PARAMETERS[name]} if name in _OWN_PARAMETERS else {}


def system_class(name: str) -> "type[System]":
    """The class of a system.

    Raises
    ------
    UserError
        There is no system of this name.
    """
    if name not in REGISTRY:
        raise _unknown(name)
    module, _, attribute = REGISTRY[name].partition(":")
    found: type[System] = getattr(importlib.import_module(module), attribute)
    return found


def create_system(name: str, parameters: Mapping[str, Any]) -> "System":
    """A system with those of `parameters` that its constructor takes."""
    cls = system_class(name)
    taken = inspect.signature(cls).parameters
    return cls(**{key: value for key, value in parameters.items() if key in taken})


def _unknown(name: str) -> UserError:
    near = difflib.get_close_matches(name, REGISTRY, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return UserError(f"--model: {name!r} is unknown{hint}; choose from {', '.join(REGISTRY)}")
