"""Detectors, a folder each, behind the interface in base.py."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asd.errors import UserError
from asd.words import nearest

if TYPE_CHECKING:
    from asd.systems.base import System
    from asd.systems.embedding.recipe import Recipe

REGISTRY = {
    "DCASE2023T2-AE": "asd.systems.autoencoder.system:Autoencoder",
    "ae": "asd.systems.autoencoder.system:Autoencoder",
    "BiGAN": "asd.systems.gan.system:BiGAN",
    "GAN": "asd.systems.gan.system:GAN",
}
"""Name of a system -> where its class is; modules are imported only when a system is used."""

_ADVERSARIAL = {"epochs": 50, "learning_rate": 1e-4, "score": "all"}

_OWN_PARAMETERS: dict[str, dict[str, Any]] = {
    "ae": {"score": "all"},  # the baseline's network, beside others: every score
    "BiGAN": _ADVERSARIAL,
    "GAN": _ADVERSARIAL,
}
"""Parameters of systems that differ from those of the baseline."""


def own_parameters(name: str) -> dict[str, Any]:
    """Parameters that a system brings along, in place of the baseline's.

    Raises
    ------
    UserError
        There is no system of this name, or its recipe is wrong.
    """
    if name in REGISTRY:
        own = _OWN_PARAMETERS.get(name)
        return {"export_dir": name, **own} if own else {}
    training = _read_recipe(name).training
    return {
        "export_dir": Path(name).stem,
        "score": "all",
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
    }


def system_class(name: str) -> "type[System]":
    """The class of a system.

    Raises
    ------
    UserError
        There is no system of this name.
    """
    if name not in REGISTRY:
        _read_recipe(name)
    where = REGISTRY.get(name, "asd.systems.embedding.system:EmbeddingSystem")
    module, _, attribute = where.partition(":")
    found: type[System] = getattr(importlib.import_module(module), attribute)
    return found


def create_system(name: str, parameters: Mapping[str, Any]) -> "System":
    """A system with those of `parameters` that its constructor takes.

    Parameters
    ----------
    parameters
        By name; for an embedding system also "year", the year of the challenge.

    Raises
    ------
    UserError
        There is no system of this name, or its recipe is wrong.
    """
    cls = system_class(name)
    given = dict(parameters)
    if name not in REGISTRY:
        recipe = _read_recipe(name)
        training = {key: given[key] for key in ("epochs", "batch_size", "learning_rate")}
        given["recipe"] = replace(recipe, training=replace(recipe.training, **training))
        given["input_s"] = recipe.input_seconds(given["year"])
    taken = inspect.signature(cls).parameters
    return cls(**{key: value for key, value in given.items() if key in taken})


def system_names() -> tuple[str, ...]:
    """Names of all systems, recipes among them."""
    from asd.systems.embedding.recipe import recipe_names

    return (*REGISTRY, *recipe_names())


def _read_recipe(name: str) -> "Recipe":
    from asd.systems.embedding.recipe import read_recipe

    if not name.endswith((".yaml", ".yml")) and name not in system_names():
        known = system_names()
        raise UserError(
            f"--model: {name!r} is unknown{nearest(name, known)}; choose from {', '.join(known)}, "
            "or give the path of a recipe that ends in .yaml"
        )
    return read_recipe(name)
