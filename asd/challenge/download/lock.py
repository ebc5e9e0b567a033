"""Guards for writing much below the data folder: one process at a time, enough space."""

import errno
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fasteners

from asd.errors import UserError

_log = logging.getLogger(__name__)
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def exclusive_lock(folder: Path, task: str) -> Iterator[None]:
    """Let one process at a time do `task` in `folder`; the others wait here for their turn.

    The folder is made where it is missing. The lock falls with the process that holds it, so a
    killed one leaves nothing locked.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    lock = fasteners.InterProcessLock(folder / f".{task}.lock")
    with as_user_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        is_ours = lock.acquire(blocking=False)
        if not is_ours:
            _log.info("%s: waiting for another process that does the %s here", folder, task)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin what cannot end: `needed` bytes in `folder`.

    Raises
    ------
    UserError
        The disk has less room.
    """
    if shutil.disk_usage(folder).free < needed:
        raise _disk_full(folder, needed)


@contextmanager
def as_user_error(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn what the system says about writing to `path` into a message for the user.

    Parameters
    ----------
    path
        File or folder that the block writes.
    needed
        Bytes that the block still has to write, for the message; 0 if it is not known.

    Raises
    ------
    UserError
        The disk is full or `path` cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_IS_FULL:
            raise _disk_full(path.parent, needed) from error
        raise UserError(
            f"{error.filename or path}: {error.strerror or error}; "
            "check the folder's permissions, or name another"
        ) from error


def _disk_full(folder: Path, needed: int) -> UserError:
    free = shutil.disk_usage(folder).free
    wanted = f"{needed} bytes are needed, {free} are free" if needed else f"{free} bytes are free"
    return UserError(
        f"{folder}: the disk is full ({wanted}); make room and run the same command again"
    )
