"""Files of recipes; one may begin with another: `base: NAME`, and what it has of its own.

Own entries are laid over those of the base, key by key; a list takes the place of the base's, and
so does what names a `class` of its own.
"""

from pathlib import Path

from asd.schema.node import Node
from asd.words import nearest

FOLDER = Path(__file__).parent / "recipes"
"""The recipes that come with the package."""

_HINT = "check the path of the recipe"


def package_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def read_recipe_file(path: Path) -> Node:
    """The whole recipe in a file.

    Raises
    ------
    UserError
        The file, or that of a base, cannot be read, or it is a base of itself.
    """
    return with_base(Node.read_file(path, _HINT), (path.absolute(),))


def with_base(node: Node, seen: tuple[Path, ...] = ()) -> Node:
    """A recipe laid over the one that it names as its base, if it names one.

    Parameters
    ----------
    seen
        Files that led here.
    """
    entries = node.items() if node.is_mapping() else {}
    if "base" not in entries:
        return node
    entry = entries["base"]
    path = _base_path(entry, Path(node.file).parent)
    if path in seen:
        raise entry.error(f"{path.name} is a base of itself; name another recipe")
    below = with_base(Node.read_file(path, _HINT), (*seen, path))
    return node.without("base").over(below, ("class",))


def _base_path(entry: Node, folder: Path) -> Path:
    """The file of a base: a recipe of the package, or a path from the recipe's folder."""
    name = str(entry.scalar())
    if name.endswith((".yaml", ".yml")):
        return (folder / Path(name).expanduser()).absolute()
    known = package_recipes()
    if name not in known:
        raise entry.error(
            f"{name!r} is unknown{nearest(name, known)}; name a recipe of the package, or the path "
            "of one that ends in .yaml"
        )
    return (FOLDER / f"{name}.yaml").absolute()
