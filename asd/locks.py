"""Let one process at a time do a task, where the file system can lock files."""

import errno
import logging
import os
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fasteners

from asd.errors import UserError

_log = logging.getLogger(__name__)
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_HOLDER_BYTES = 200

# A lock of the system belongs to the process, so that threads would pass each other's.
_THREADS: dict[str, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def exclusive_lock(path: Path, task: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` while doing `task`; a killed process leaves nothing locked.

    Threads of one process exclude each other too; a thread must not take the same lock twice.

    Where the file system has no locks, a warning is logged and the task goes on without.

    Parameters
    ----------
    path
        The lock file; its folder is made where it is missing, and the file stays.
    task
        What is done, as a noun for messages: "download", "training".
    wait
        Wait for the process that holds the lock; otherwise refuse.

    Raises
    ------
    UserError
        The file cannot be written, or another process holds the lock and `wait` is False.
    """
    lock = fasteners.InterProcessLock(path)
    threads = _THREADS[os.path.realpath(path)]
    if not threads.acquire(blocking=wait):
        raise _held(path, task, "another thread of this process")
    try:
        is_locked = _acquire(lock, path, task, wait)
        try:
            yield
        finally:
            if is_locked:
                _write_holder(lock, "")
                lock.release()
    finally:
        threads.release()


def _acquire(lock: fasteners.InterProcessLock, path: Path, task: str, wait: bool) -> bool:
    """Take the lock; False where the file system has none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not lock.acquire(blocking=False):
            if not wait:
                raise _held(path, task, _holder(path))
            _log.info("%s: waiting for %s that does the %s here", path.parent, _holder(path), task)
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"{error.filename or path}: {error.strerror or error}; "
            "check the folder's permissions and free space, or name another"
        ) from error
    except threading.ThreadError as error:  # what fasteners makes of an OSError
        _close(lock)
        cause = error.__context__
        if not isinstance(cause, OSError) or cause.errno not in _NO_LOCKS:
            raise UserError(f"{path}: cannot be locked ({cause or error})") from error
        _log.warning(
            "%s: the file system has no locks (%s); do not start a second %s here meanwhile",
            path.parent, cause.strerror, task,
        )  # fmt: skip
        return False
    except BaseException:
        _close(lock)
        raise
    _write_holder(lock, f"process {os.getpid()} on {socket.gethostname()}")
    return True


def _held(path: Path, task: str, holder: str) -> UserError:
    return UserError(
        f"{path.parent}: the {task} is being done here by {holder}; wait for its end, or end it"
    )


def _write_holder(lock: fasteners.InterProcessLock, text: str) -> None:
    """Say in the lock file who holds it. Opening the file once more would drop the lock."""
    if os.name != "posix":  # the lock is on the byte at the file's end, which would move
        return
    with suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(lock.lockfile.fileno(), 0)
        os.write(lock.lockfile.fileno(), text.encode())


def _holder(path: Path) -> str:
    """Who holds the lock, in words."""
    try:
        with path.open("rb") as stream:
            text = stream.read(_HOLDER_BYTES).decode()
    except (OSError, ValueError):
        text = ""
    return text if text.startswith("process ") and text.isprintable() else "another process"


def _close(lock: fasteners.InterProcessLock) -> None:
    if lock.lockfile is not None:
        lock.lockfile.close()
