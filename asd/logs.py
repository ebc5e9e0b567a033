"""Logging to standard error, one line per event, out of the way of progress bars."""

import logging
import sys

from tqdm import tqdm


def set_up_logging(level: int = logging.INFO) -> None:
    """Show log lines of this package above progress bars, on standard error."""
    handler = _TqdmHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("asd")
    logger.handlers = [handler]
    logger.setLevel(level)


class _TqdmHandler(logging.Handler):
    """Writes through tqdm, which redraws its bars below."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)  # the one of now: it may be redirected
