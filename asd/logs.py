"""Logging to standard error, one line per event, out of the way of progress bars."""

import logging
import sys
from contextlib import suppress

from tqdm import tqdm

from asd.words import shown


def set_up_logging(level: int = logging.INFO) -> None:
    """Show log lines of this package above progress bars, on standard error."""
    handler = _TqdmHandler()
    handler.setFormatter(_OneLine("%(levelname)s: %(message)s"))
    logger = logging.getLogger("asd")
    logger.handlers = [handler]
    logger.setLevel(level)


class _OneLine(logging.Formatter):
    """Keeps an event on its line: line breaks in names from disk are escaped."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return shown(super().formatMessage(record))


class _TqdmHandler(logging.Handler):
    """Writes through tqdm, which redraws its bars below.

    A line that cannot be written is dropped: that nobody reads the log must not stop the work.
    """

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        with suppress(OSError, ValueError):  # a broken pipe, a full disk, a closed stream
            tqdm.write(line, file=sys.stderr)  # the one of now: it may be redirected
