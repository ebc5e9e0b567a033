"""Logging to standard error, one line per event, out of the way of progress bars."""

import logging
import sys

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
    """Writes through tqdm, which redraws its bars below."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)  # the one of now: it may be redirected
