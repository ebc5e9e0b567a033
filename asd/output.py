"""Standard output and standard error that never stop the work, even when nobody reads them."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from errno import EBADF, EPIPE
from typing import Any, TextIO

from asd.errors import UserError

_READER_LEFT = (EPIPE, EBADF)


class SteadyOutput:
    """The standard streams while `steady_output` holds them."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self.out = out
        self.err = err

    def check(self) -> None:
        """Find out, when the work is done, whether all results could be printed.

        Raises
        ------
        UserError
            They could not, and not because the reader has left: the disk is full, perhaps.
        """
        self.out.flush()
        fault = self.out.raw_file.fault if isinstance(self.out, _SteadyStream) else None
        if fault is not None and fault.errno not in _READER_LEFT:
            raise UserError(
                f"standard output: results could not be written ({fault.strerror}); "
                "check where it is redirected to, and the free space there"
            )


@contextmanager
def steady_output() -> Iterator[SteadyOutput]:
    """Let the block run to its end though standard output or standard error fail.

    Once a stream has failed, what is written to it is dropped: log lines, progress bars, and
    results too, wherever between the steps of the work they are printed. That a reader has left
    (`asd ... | head`), or that a stream was closed from the start (`>&-`), is no fault. Streams
    that are no files, such as those of a notebook, stay as they are.
    """
    _open_missing()
    streams = SteadyOutput(_steady(sys.stdout), _steady(sys.stderr))
    with redirect_stdout(streams.out), redirect_stderr(streams.err):
        try:
            yield streams
        finally:
            streams.out.flush()
            streams.err.flush()


def has_lost_reader(stream: TextIO) -> bool:
    """Whether what is written to a stream of `steady_output` is dropped since a fault."""
    return isinstance(stream, _SteadyStream) and stream.raw_file.fault is not None


class _SteadyFile(io.FileIO):
    """An unbuffered file that takes all that is written; after the first fault, to drop it."""

    fault: OSError | None = None

    def write(self, data: Any) -> int:
        if self.fault is None:
            try:
                return super().write(data)
            except OSError as error:
                self.fault = error
        return memoryview(data).nbytes


class _SteadyStream(io.TextIOWrapper):
    """A text stream onto a `_SteadyFile`, with the ways of another stream."""

    def __init__(self, raw_file: _SteadyFile, like: TextIO) -> None:
        super().__init__(
            io.BufferedWriter(raw_file), encoding=like.encoding, errors=like.errors,
            line_buffering=bool(like.line_buffering),
        )  # fmt: skip
        self.raw_file = raw_file


def _steady(stream: TextIO) -> TextIO:
    """A stream to the same file that takes all that is written; `stream` if it is no file."""
    binary = getattr(stream, "buffer", None)
    if type(getattr(binary, "raw", binary)) is not io.FileIO:
        return stream
    stream.flush()
    return _SteadyStream(_SteadyFile(stream.fileno(), "w", closefd=False), stream)


def _open_missing() -> None:
    """Let streams that were closed when the program began lead nowhere.

    Their numbers are taken first: the next file opened would get them, and all that is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, this one
            os.set_inheritable(number, True)
    if sys.stdout is None:
        sys.stdout = _to_number(1)
    if sys.stderr is None:
        sys.stderr = _to_number(2)


def _to_number(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
