"""Classes from outside the package: "module:Class", "file.py:Class", entry points."""

import importlib
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from asd.errors import UserError
from asd.words import nearest

T = TypeVar("T")

_REFERENCE = re.compile(r"(?P<module>.+):(?P<name>[A-Za-z_]\w*)")


def is_reference(text: str) -> bool:
    """Whether a text names a class as "module:Class" or "file.py:Class"."""
    return _REFERENCE.fullmatch(text) is not None


def absolute_reference(text: str, *folders: Path) -> str:
    """A reference that is understood in other folders and processes too.

    A file in one of the folders, with or without ".py", becomes an absolute path; a module stays
    as it is.
    """
    if match := _REFERENCE.fullmatch(text):
        for folder in folders:
            if file := _file_of(match["module"], folder):
                return f"{file}:{match['name']}"
    return text


@cache
def entry_points_of(group: str) -> dict[str, str]:
    """Name -> "module:Class" of what installed packages offer to a group such as "asd.systems"."""
    from importlib.metadata import entry_points  # takes longer than all else that help needs

    return {point.name: point.value for point in entry_points(group=group)}


def load_object(reference: str, kind: str) -> Any:
    """What a reference names; `kind` is the word for it in messages.

    Raises
    ------
    UserError
        There is no such file, module or name, or it fails when it is imported.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UserError(f"{kind} {reference!r}: expected my_file.py:MyClass or module:MyClass")
    module = _import(match["module"], f"{kind} {reference}")
    if not hasattr(module, match["name"]):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise UserError(
            f"{kind} {reference}: {match['module']} has no {match['name']}"
            f"{nearest(match['name'], names)}"
        )
    return getattr(module, match["name"])


def load_class(reference: str, base: type[T], kind: str) -> type[T]:
    """A class that a reference names, which is a `base`.

    Raises
    ------
    UserError
        As `load_object`, or it is no such class.
    """
    found = load_object(reference, kind)
    if not (isinstance(found, type) and issubclass(found, base)):
        home = f"{base.__module__}.{base.__qualname__}"
        raise UserError(f"{kind} {reference}: is no subclass of {home}; derive it from that")
    return found


def _import(module: str, where: str) -> ModuleType:
    file = _file_of(module)
    try:
        return _import_file(file) if file else importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] == error.name:
            raise UserError(
                f"{where}: there is no such file and no such module; check the path, or install "
                "the package"
            ) from None
        raise UserError(f"{where}: cannot be imported ({error}); install what it needs") from error
    except Exception as error:  # anything may happen in somebody's module
        reason = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise UserError(f"{where}: cannot be imported ({reason}); mend the file") from error


def _file_of(module: str, folder: Path = Path()) -> Path | None:
    """The Python file that a reference means: "my_file" and "my_file.py" are the same."""
    for name in (module, f"{module}.py"):
        path = folder / Path(name).expanduser()
        if path.suffix == ".py" and path.is_file():
            return path.resolve()
    return None


def _import_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, once; pickles find it by that name again."""
    import hashlib  # only where a file is loaded: help need not wait for it

    name = f"asd_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
