"""Files that a command is to write, checked before work is done for them."""

import os
from collections.abc import Iterable
from pathlib import Path

from asd.errors import UserError


def check_output(flag: str, path: Path, others: Iterable[Path] = ()) -> None:
    """Refuse a file that cannot be written, or that would take the place of an input.

    Parameters
    ----------
    flag
        What named the file.
    others
        Files that the command reads, or writes too.

    Raises
    ------
    UserError
        The path is a folder, a sound file or one of the others, or its folder cannot be written to.
    """
    if path.is_dir():
        raise UserError(f"{flag}: {path} is a folder; give the name of a file in it")
    if any(_is_same(path, other) for other in others):
        raise UserError(f"{flag}: {path} is used by this command already; give another name")
    if path.exists() and _is_sound(path):
        raise UserError(f"{flag}: {path} is a sound file, which would be lost; give another name")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{flag}: {path} cannot be written, as {folder} does not allow it; give "
                        "another name")  # fmt: skip


def _is_same(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.absolute() == other.absolute()


def _is_sound(path: Path) -> bool:
    from asd.audio.recordings import SUFFIXES  # slow to import

    return path.suffix.lower() in SUFFIXES
