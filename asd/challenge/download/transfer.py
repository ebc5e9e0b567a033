"""Fetching from HTTP servers that are slow, busy, or break off. Nothing here knows of clips."""

import http.client
import logging
import os
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError

from tqdm import tqdm

from asd import __version__
from asd.challenge.download.disk import as_user_error, check_space
from asd.errors import UserError

_log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 18
_BUSY = (408, 425, 429)
_RANGE_REFUSED = 416

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RetryPolicy:
    """Timeouts and retries.

    Parameters
    ----------
    timeout_s
        A connection that is silent for so long counts as broken.
    retries
        Attempts after the first one that may fail in a row without a single new byte.
    backoff_s
        Pause before the first retry; it doubles each time, up to a minute.
    longest_wait_s
        If the server asks for a longer pause than this, give up instead.
    """

    timeout_s: float = 60.0
    retries: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 900.0

    def pause_s(self, failures: int) -> float:
        """Pause after so many failures in a row."""
        return min(self.backoff_s * 2.0 ** (failures - 1), 60.0)


class _BrokenError(Exception):
    """An attempt failed, the next may not. `wait_s` is the pause that the server asked for."""

    def __init__(self, reason: str, wait_s: float | None = None):
        super().__init__(reason)
        self.wait_s = wait_s


def fetch_bytes(url: str, patience: RetryPolicy) -> bytes:
    """The whole of a small file.

    Raises
    ------
    UserError
        It is not there, or the server could not be reached in spite of retries.
    """

    def attempt() -> bytes:
        with _connection(url, {}, patience) as response:
            return response.read()

    return _retry(attempt, url, patience)


def fetch_file(url: str, target: Path, size: int | None, patience: RetryPolicy) -> None:
    """Download a large file, going on from `<target>.part` if an earlier download left one.

    The part is renamed to `target` once the server has sent all; whether it is the right file
    remains to be checked.

    Parameters
    ----------
    url
        Its address.
    target
        Where to put it; its folder must exist.
    size
        Its length in bytes where that is known.
    patience
        How long to bear with the server.

    Raises
    ------
    UserError
        It is not there, the server could not be reached in spite of retries, the disk is full or
        cannot be written to.
    """
    part = target.with_name(f"{target.name}.part")
    with tqdm(total=size, desc=target.name, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        download = _Download(url, part, size, patience, bar)
        _retry(download.attempt, url, patience, download.have)
    with as_user_error(target):
        os.replace(part, target)


class _Download:
    """A file on its way; `part` holds the bytes that have come so far."""

    def __init__(
        self, url: str, part: Path, size: int | None, patience: RetryPolicy, bar: "tqdm[Any]"
    ):
        self.url, self.part, self.size, self.patience, self.bar = url, part, size, patience, bar
        self.version: str | None = None

    def have(self) -> int:
        """Bytes in the part."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def attempt(self) -> None:
        """Fetch what is missing. On return the part has all that the server has."""
        have = self.have()
        if have and have == self.size:
            return
        try:
            with _connection(self.url, self._headers(have), self.patience) as response:
                self._receive(response, self._start(response, have))
        except HTTPError as error:
            if _range_total(error.headers) != have:
                self._discard()
                raise _BrokenError("the server has another file than before") from error

    def _headers(self, have: int) -> dict[str, str]:
        if not have:
            return {}
        # If-Range: the server sends the whole file instead, should it have changed meanwhile.
        unchanged = {"If-Range": self.version} if self.version else {}
        return {"Range": f"bytes={have}-", **unchanged}

    def _start(self, response: http.client.HTTPResponse, have: int) -> int:
        """Offset in the file at which the answer begins: 0 from a server that ignores Range."""
        tag = response.headers.get("ETag", "")
        self.version = tag if tag.startswith('"') else None
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            return 0
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            self._discard()
            raise _BrokenError("the server sent another range than was asked for")
        return have

    def _receive(self, response: http.client.HTTPResponse, start: int) -> None:
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        missing = max(0, (total or self.size or 0) - start)
        check_space(self.part.parent, missing)
        self.bar.reset(total or self.size)
        self.bar.initial = self.bar.n = start
        with as_user_error(self.part, missing), self.part.open("ab" if start else "wb") as out:
            for block in _blocks(response):
                out.write(block)
                self.bar.update(len(block))
        if total is not None and self.have() < total:
            raise _BrokenError(f"the connection closed after {self.have()} of {total} bytes")

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The answer's content as it comes in, so that a broken connection loses nothing received."""
    try:
        while block := response.read1(_BLOCK_BYTES):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(str(error) or type(error).__name__) from error


@contextmanager
def _connection(
    url: str, headers: dict[str, str], patience: RetryPolicy
) -> Iterator[http.client.HTTPResponse]:
    """Open `url`; all that a network can do wrong becomes one of three exceptions.

    Raises
    ------
    UserError
        Trying again would not help.
    HTTPError
        The range asked for is outside the file (status 416).
    _BrokenError
        Trying again may help.
    """
    request = urllib.request.Request(url, headers={"User-Agent": f"asd/{__version__}", **headers})
    try:
        with urllib.request.urlopen(request, timeout=patience.timeout_s) as response:
            yield response
    except HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED:
            raise
        raise _judged(error, url, patience) from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise UserError(
                f"{url}: the server's certificate is not trusted ({error.reason.verify_message}); "
                "check the computer's clock and certificates, or its proxy"
            ) from error
        raise _BrokenError(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenError(str(error) or type(error).__name__) from error


def _judged(error: HTTPError, url: str, patience: RetryPolicy) -> Exception:
    """What an HTTP status means: a server that is busy, or an address that does not work."""
    status = f"HTTP status {error.code}"
    if error.code not in _BUSY and error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return UserError(
            f"{url}: cannot be downloaded ({status} {error.reason}); "
            "see in a browser whether the file is still there"
        )
    wait_s = _retry_after_s(error.headers.get("Retry-After", ""))
    if wait_s is not None and wait_s > patience.longest_wait_s:
        return UserError(
            f"{url}: the server asks to wait {wait_s:.0f} s ({status}); "
            "run the same command again after that"
        )
    return _BrokenError(status, wait_s)


def _retry_after_s(text: str) -> float | None:
    """Seconds to wait according to a Retry-After header: a number, or the time of day."""
    if text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def _range_total(headers: Message) -> int | None:
    """Length of the file according to "Content-Range: bytes */1234"."""
    total = headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _retry(
    attempt: Callable[[], Answer], url: str, patience: RetryPolicy, have: Callable[[], int] = int
) -> Answer:
    """Call `attempt` until it succeeds, or fails too often in a row without new bytes (`have`)."""
    failures = 0
    while True:
        before = have()
        try:
            return attempt()
        except _BrokenError as broken:
            failures = 1 if have() > before else failures + 1
            if failures > patience.retries:
                raise UserError(
                    f"{url}: gave up after {failures} failed attempts (the last: {broken}); check "
                    "the connection and run the same command again, it goes on from where it was"
                ) from broken
            pause_s = patience.pause_s(failures) if broken.wait_s is None else broken.wait_s
            _log.warning("%s: %s; trying again in %.3g s", url, broken, pause_s)
            time.sleep(pause_s)
