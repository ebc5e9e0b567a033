"""How a process ends: when it is told to, and when the one that started it is gone."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

_LOOK_S = 0.5
_watched: set[int] = set()
_watch_lock = threading.Lock()


class TerminatedError(KeyboardInterrupt):
    """A signal asked this process to end; what handles Ctrl-C handles it too.

    Parameters
    ----------
    number
        The signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does: half-written files go, workers end.

    The main thread raises `TerminatedError`. Only the first signal does: another one must not break
    off the cleaning up. A signal that is ignored stays so (`nohup` ignores SIGHUP). Outside the
    main thread, which alone may set handlers, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not told:
            told.append(number)
            raise TerminatedError(number)

    before = _set_handlers(handle)
    try:
        yield
    except Exception as error:
        if not told:
            raise
        # A library's cleaning up may fail where the signal struck, and its error hide the end.
        raise TerminatedError(told[0]) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals that would end the block wait for its end, such as that of writing a line.

    An exception amidst writing leaves what was written in the stream's buffer, to be written again.
    Outside the main thread nothing is changed: signals are not handled there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    come: list[tuple[int, FrameType | None]] = []
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before = {
        number: signal.signal(number, lambda *given: come.append(given))
        for number in numbers
        if number is not None and callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number, frame in come[:1]:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)


def _set_handlers(handle: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Set a handler for the signals of this system that are not ignored; returns those before."""
    before: dict[int, Any] = {}
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handle)
    return before


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """The exit status that shells give: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    number = interrupt.number if isinstance(interrupt, TerminatedError) else signal.SIGINT
    return 128 + number


def end_with_parent(parent: int) -> None:
    """End this worker process within a second when its parent has ended, killed or not.

    A killed parent cannot tell its workers, which would go on for hours and write into the folders
    of the training that is started next. May be called again for each piece of work: a worker is
    watched once. What the worker has half written is removed by whoever writes there next.

    Parameters
    ----------
    parent
        Process number of the parent, from the parent itself: asked for here, it would be another
        one's where the parent has ended already. Its own number, as in a call within the parent,
        watches nothing.
    """
    if parent == os.getpid():
        return
    with _watch_lock:
        if parent in _watched:
            return
        _watched.add(parent)
    threading.Thread(target=_end_after, args=(parent,), daemon=True, name="end_with_parent").start()


def _end_after(parent: int) -> NoReturn:
    # Asked for by number and not by a signal on the parent's death (PR_SET_PDEATHSIG): that is
    # sent when the thread ends that started the worker, and a library's user may have many.
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)  # at once, from this thread: the main one may be within a long computation
