"""Files and folders that are either whole or not there: write aside, then rename."""

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from asd.errors import UserError

# Some network and user-space file systems cannot sync a file or a folder, and say so.
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EACCES, errno.EISDIR)


@contextmanager
def write_aside(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block succeeds, rename it to `path`.

    A reader sees the old file or the new one, never a part. If the block raises, the temporary
    file is removed. Missing parent folders are made.

    Parameters
    ----------
    durable
        Whether the new file must be on the disk when the block has ended, so that after a power
        cut too there is the old file or the new one, not an empty one. That takes some
        milliseconds: leave it out where many small files are written that can be made again.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    aside = _name_aside(path)
    new_folders = [folder for folder in path.parents if durable and not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        if durable and not aside.is_symlink():
            _sync(aside)
        os.replace(aside, path)
        if durable:
            _sync_folders([path.parent, *(folder.parent for folder in new_folders)])
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


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write `text` to `path` as UTF-8 with Unix line ends, whole or not at all."""
    with write_aside(path, durable) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n", durable)


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
    processes left beside `folder` is cleared away first. After a power cut, files of a folder
    written shortly before may be empty: they are too many to wait for each.

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


def _sync_folders(folders: Iterable[Path]) -> None:
    """Wait until what was renamed or made in some folders is on the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        for folder in folders:
            _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of files, is on the disk."""
    try:
        # Reading is enough on Unix, where a copy may be read-only; Windows wants to write.
        number = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


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
