"""Files and folders that are either whole or not there: write aside, then rename."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from asd.errors import UserError


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds, rename it to `path`.

    A reader sees the old file or the new one, never a part. If the block raises, the temporary
    file is removed. Missing parent folders are made.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    aside = _name_aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        # A full disk names no file; another file's trouble is the caller's to explain.
        if error.filename not in (None, str(aside), *map(str, path.parents)):
            raise
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); "
            "check the folder's permissions and free space, or choose another"
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 with Unix line ends, whole or not at all."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def remove_leftovers(folder: Path) -> None:
    """Remove files that killed processes left half written; one that lives keeps its own."""
    for leftover in folder.glob(".*.*.*.part"):
        number = leftover.name.split(".")[-3]
        if number.isdigit() and not _is_running(int(number)):
            leftover.unlink(missing_ok=True)


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`; when the block succeeds, it takes that one's place.

    If anything fails, `folder` is what it was before. Missing parent folders are made. What killed
    processes left beside `folder` is cleared away first.

    Raises
    ------
    OSError
        The new folder cannot be made or brought into its place.
    """
    _clear_leftovers(folder)
    aside = _name_aside(folder)
    try:
        aside.mkdir(parents=True)
        yield aside
        _put_in_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _name_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")


def _put_in_place(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; what was there is removed after that, or comes back."""
    old = new.with_suffix(".old")
    try:
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _clear_leftovers(folder: Path) -> None:
    """Clear away what killed processes left beside a folder; one that lives keeps its own."""
    for leftover in folder.parent.glob(f".{folder.name}.*.*.*"):
        number = leftover.name.split(".")[-3]
        if not number.isdigit() or _is_running(int(number)):
            continue
        if leftover.suffix == ".old" and not folder.exists():  # killed between the two renames
            leftover.rename(folder)
        else:
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 asks, and sends nothing
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
