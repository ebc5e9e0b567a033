"""Which systems there are, and where their classes and parameters are.

A system is named by its entry here, by a recipe of the package, by the path of a recipe, by
"module:Class" or "file.py:Class", or by an entry point of the group "asd.systems" that an installed
package offers. Modules are imported only when a system is used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asd.errors import UserError
from asd.extensions import entry_points_of, is_reference, load_class, load_object
from asd.schema.node import read_set_values
from asd.schema.parameters import Parameter, parameters_of
from asd.systems.embedding.recipe_files import FOLDER, package_recipes, read_recipe_file
from asd.words import nearest

if TYPE_CHECKING:
    from asd.systems.base import System

GROUP = "asd.systems"
_EMBEDDING = "asd.systems.embedding.system:EmbeddingSystem"


@dataclass(frozen=True)
class SystemEntry:
    """A system that can be named.

    Parameters
    ----------
    name
        Its name, or a recipe's name or path.
    system
        "module:Class" of the system.
    parameters
        "module:Class" of its parameters; "" takes those of the class.
    export_dir
        What its result folders are named by, where nothing else is said.
    score
        The score that is tested where none is named.
    recipe
        File of a recipe.
    """

    name: str
    system: str
    parameters: str = ""
    export_dir: str = ""
    score: str = "all"
    recipe: Path | None = None

    @property
    def label(self) -> str:
        """The name without folders, for messages and file names."""
        if self.name.endswith((".yaml", ".yml")):
            return Path(self.name).stem
        return self.name.rpartition(":")[2]

    def system_class(self) -> "type[System]":
        """The class of the system."""
        from asd.systems.base import System

        return load_class(self.system, System, "system")

    def parameters_class(self) -> type:
        """The dataclass of its parameters."""
        if self.parameters:
            found: type = load_object(self.parameters, "parameters")
            return found
        return self.system_class().Parameters

    def defaults(self, set_values: Iterable[str] = ()) -> Any:
        """Its parameters where nothing else is said, with values of the flag `--set`.

        Raises
        ------
        UserError
            The recipe cannot be read, a key is unknown, or a value cannot be.
        """
        if self.recipe is None:
            return self.parameters_class()(**self._set_arguments(set_values))
        from asd.systems.embedding.recipe import recipe_of_node, set_in_recipe

        node = read_recipe_file(self.recipe)
        set_in_recipe(node, read_set_values(set_values))
        return recipe_of_node(node)

    def _set_arguments(self, set_values: Iterable[str]) -> dict[str, Any]:
        known = {each.name: each for each in parameters_of(self.parameters_class())}
        found = {}
        for key, node in read_set_values(set_values):
            if key not in known:
                raise node.error(f"{self.name} has no parameter {key!r}{nearest(key, known)}")
            found[key] = node.read(known[key].kind)
        return found


_AUTOENCODER = (
    "asd.systems.autoencoder.system:Autoencoder",
    "asd.systems.autoencoder.parameters:AutoencoderParameters",
)
_GAN = "asd.systems.gan.system:"
_GAN_PARAMETERS = "asd.systems.gan.parameters:"

SYSTEMS: Mapping[str, SystemEntry] = {
    entry.name: entry
    for entry in (
        SystemEntry("DCASE2023T2-AE", *_AUTOENCODER, export_dir="baseline", score="MSE"),
        SystemEntry("ae", *_AUTOENCODER, export_dir="ae"),
        SystemEntry(
            "stats",
            "asd.systems.statistics.system:LogMelStatistics",
            "asd.systems.statistics.parameters:StatisticsParameters",
            export_dir="stats",
        ),
        SystemEntry("BiGAN", f"{_GAN}BiGAN", f"{_GAN_PARAMETERS}BiganParameters", "BiGAN"),
        SystemEntry("GAN", f"{_GAN}GAN", f"{_GAN_PARAMETERS}GanParameters", "GAN"),
        SystemEntry(
            "BiGAN-IMAGE",
            f"{_GAN}ImageBiGAN",
            f"{_GAN_PARAMETERS}ImageBiganParameters",
            "BiGAN-IMAGE",
        ),
        SystemEntry(
            "GAN-IMAGE", f"{_GAN}ImageGAN", f"{_GAN_PARAMETERS}ImageGanParameters", "GAN-IMAGE"
        ),
    )
}
"""The systems of the package that are not recipes."""


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return package_recipes()


def system_names() -> tuple[str, ...]:
    """Names of all systems, recipes and those of installed packages among them."""
    return (*SYSTEMS, *recipe_names(), *entry_points_of(GROUP))


@cache
def find_system(name: str) -> SystemEntry:
    """The system of a name.

    Raises
    ------
    UserError
        There is none.
    """
    if name in SYSTEMS:
        return SYSTEMS[name]
    if name in recipe_names():
        return _embedding_entry(name, FOLDER / f"{name}.yaml")
    if name.endswith((".yaml", ".yml")):
        return _embedding_entry(name, Path(name))
    if is_reference(name):
        return SystemEntry(name, name, export_dir=name.rpartition(":")[2])
    if reference := entry_points_of(GROUP).get(name):
        return SystemEntry(name, reference, export_dir=name)
    known = system_names()
    raise UserError(
        f"--model: {name!r} is unknown{nearest(name, known)}; choose from {', '.join(known)}, "
        "or give the path of a recipe that ends in .yaml, or a class of your own as "
        "my_file.py:MySystem"
    )


def stored_system(reference: str, name: str) -> SystemEntry:
    """The system of a stored model: what `SystemEntry.system` and `name` were."""
    entry = next((each for each in SYSTEMS.values() if each.system == reference), None)
    parameters = entry.parameters if entry else ""
    if reference == _EMBEDDING:
        return _embedding_entry(name, None)
    return SystemEntry(name, reference, parameters)


def owners_of(flag: str) -> list[str]:
    """Names of the package's systems that have a flag."""
    return [name for name, entry in SYSTEMS.items() if _has_flag(entry, flag)]


def all_parameters() -> dict[str, Parameter]:
    """The parameters of the package's systems by every spelling, without dashes."""
    found: dict[str, Parameter] = {}
    for entry in SYSTEMS.values():
        for each in parameters_of(entry.parameters_class()):
            for flag in each.flags:
                found.setdefault(flag.lstrip("-"), each)
    return found


def _has_flag(entry: SystemEntry, flag: str) -> bool:
    return any(flag in each.flags for each in parameters_of(entry.parameters_class()))


def _embedding_entry(name: str, recipe: Path | None) -> SystemEntry:
    return SystemEntry(
        name,
        _EMBEDDING,
        "asd.systems.embedding.recipe:Recipe",
        Path(name).stem if name.endswith((".yaml", ".yml")) else name,
        recipe=recipe,
    )
