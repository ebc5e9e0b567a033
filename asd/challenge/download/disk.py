"""Guards for writing much below the data folder: enough space, plain words where it fails."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asd.errors import UserError

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


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
