"""Fetching from HTTP servers that are slow, busy, or break off. Nothing here knows of clips.

requests connects, follows redirects and reads; urllib3's Retry asks again until there is an answer.
Own code is what neither has: going on in the middle of a file, where a break after new bytes is no
failure; the waits of a rate limit, and an end to them; one line for the user.
"""

import logging
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError, SSLError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from asd import __version__
from asd.challenge.download.disk import as_user_error, check_space
from asd.challenge.download.policy import RetryPolicy
from asd.errors import UserError

_log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 18
_SMALL_BYTES = 1 << 26  # a record's description has 20 kB
_LONGEST_PAUSE_S = 60.0
_RANGE_REFUSED = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
_BUSY = frozenset((408, 425, 429, *range(500, 600)))

Answer = TypeVar("Answer")


class _BrokenError(Exception):
    """An attempt failed, the next may not."""


# --- what is fetched ------------------------------------------------------------------------------


def fetch_bytes(url: str, patience: RetryPolicy) -> bytes:
    """The whole of a small file.

    Raises
    ------
    UserError
        It is not there or too long, or the server could not be reached in spite of retries.
    """

    def attempt() -> bytes:
        content = bytearray()
        with _answer(session, url, {}, patience, (HTTPStatus.OK,)) as response:
            for block in _blocks(response):
                content += block
                if len(content) > _SMALL_BYTES:
                    raise UserError(
                        f"{url}: the answer has more than {_SMALL_BYTES} bytes, so it is not what "
                        "it should be; try again later"
                    )
        return bytes(content)

    with _session(url, patience) as session:
        return _persist(attempt, url, patience)


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
    with (
        tqdm(total=size, desc=target.name, unit="B", unit_scale=True, unit_divisor=1024) as bar,
        _session(url, patience) as session,
    ):
        download = _Download(url, part, size, patience, bar, session)
        _persist(download.attempt, url, patience, download.have)
    with as_user_error(target):
        os.replace(part, target)


class _Download:
    """A file on its way; `part` holds the bytes that have come so far."""

    def __init__(
        self,
        url: str,
        part: Path,
        size: int | None,
        patience: RetryPolicy,
        bar: "tqdm[Any]",
        session: requests.Session,
    ):
        self.url, self.part, self.size, self.patience, self.bar = url, part, size, patience, bar
        self.session = session
        self.version: str | None = None

    def have(self) -> int:
        """Bytes in the part."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def attempt(self) -> None:
        """Fetch what is missing. On return the part has all that the server has."""
        have = self.have()
        if have and have == self.size:
            return
        allowed = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, _RANGE_REFUSED)
        headers = self._headers(have)
        with _answer(self.session, self.url, headers, self.patience, allowed) as response:
            if response.status_code != _RANGE_REFUSED:
                self._receive(response, self._start(response, have))
            elif _range_total(response) != have:
                self._discard()
                raise _BrokenError("the server has another file than before")

    def _headers(self, have: int) -> dict[str, str]:
        if not have:
            return {}
        # If-Range: the server sends the whole file instead, should it have changed meanwhile.
        unchanged = {"If-Range": self.version} if self.version else {}
        return {"Range": f"bytes={have}-", **unchanged}

    def _start(self, response: requests.Response, have: int) -> int:
        """Offset in the file at which the answer begins: 0 from a server that ignores Range."""
        tag = response.headers.get("ETag", "")
        self.version = tag if tag.startswith('"') else None
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            return 0
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            self._discard()
            raise _BrokenError("the server sent another range than was asked for")
        return have

    def _receive(self, response: requests.Response, start: int) -> None:
        length = response.raw.length_remaining  # None where the server does not say, or nonsense
        total = self.size if length is None else start + length
        missing = max(0, (total or 0) - start)
        check_space(self.part.parent, missing)
        self.bar.reset(total)
        self.bar.initial = self.bar.n = start
        with as_user_error(self.part, missing), self.part.open("ab" if start else "wb") as out:
            for block in _blocks(response):
                out.write(block)
                self.bar.update(len(block))
                if total is not None and self.bar.n > total:
                    break  # of a server that never ends; the checks of the file tell
        if total is not None and self.have() < total:
            raise _BrokenError(f"the connection closed after {self.have()} of {total} bytes")

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)


def _range_total(response: requests.Response) -> int | None:
    """Length of the file according to "Content-Range: bytes */1234"."""
    match = re.search(r"/([0-9]{1,18})$", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _persist(
    attempt: Callable[[], Answer], url: str, patience: RetryPolicy, have: Callable[[], int] = int
) -> Answer:
    """Call `attempt` until it succeeds, or breaks too often in a row without new bytes (`have`)."""
    retry = unused = _Retry.of(url, patience)
    while True:
        before = have()
        try:
            return attempt()
        except _BrokenError as broken:
            retry = unused if have() > before else retry
            try:
                retry = retry.increment("GET", url, error=broken)
            except MaxRetryError:
                raise _gave_up(url, broken, patience) from broken
            retry.sleep()


# --- asking a server ------------------------------------------------------------------------------


class _Retry(Retry):
    """urllib3's Retry that heeds rate limits, refuses to wait for hours, and says what it does."""

    url = ""
    longest_wait_s = 0.0

    @classmethod
    def of(cls, url: str, patience: RetryPolicy) -> "_Retry":
        retry = cls(
            total=patience.retries,
            status_forcelist=_BUSY,
            backoff_factor=patience.backoff_s,
            backoff_max=_LONGEST_PAUSE_S,
            raise_on_status=False,
        )
        retry.url, retry.longest_wait_s = url, patience.longest_wait_s
        return retry

    def new(self, **changes: Any) -> "_Retry":
        retry = super().new(**changes)
        retry.url, retry.longest_wait_s = self.url, self.longest_wait_s
        return retry

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        *place: Any,
        **places: Any,
    ) -> "_Retry":
        cause = error.args[0] if isinstance(error, SSLError) and error.args else None
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UserError(
                f"{self.url}: the server's certificate is not trusted ({cause.verify_message}); "
                "check the computer's clock; behind a proxy with a certificate of its own, name "
                "that one's file in REQUESTS_CA_BUNDLE"
            ) from error
        return super().increment(method, url, response, error, *place, **places)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Seconds that the server asks to wait, None if it does not say so.

        Retry-After, or for status 429 X-RateLimit-Reset, in seconds since 1970.

        Source: https://developers.zenodo.org/#rate-limiting.
        """
        try:
            wait_s = super().get_retry_after(response)
        except (InvalidHeader, ValueError, OverflowError):
            wait_s = None
        reset = response.headers.get("X-RateLimit-Reset", "")
        is_limited = response.status == HTTPStatus.TOO_MANY_REQUESTS
        if wait_s is None and is_limited and re.fullmatch(r"[0-9]{1,15}", reset):
            wait_s = max(0.0, int(reset) - time.time())
        if wait_s is not None and wait_s > self.longest_wait_s:
            raise UserError(
                f"{self.url}: the server asks to wait {min(wait_s, 1e9):.0f} s (HTTP status "
                f"{response.status}); run the same command again after that"
            )
        return wait_s

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        wait_s = None if response is None else self.get_retry_after(response)
        pause_s = wait_s or self.get_backoff_time()
        last = self.history[-1]
        reason = f"HTTP status {last.status}" if last.error is None else _one_line(last.error)
        _log.warning("%s: %s; trying again in %.3g s", self.url, reason, pause_s)
        time.sleep(pause_s)


def _session(url: str, patience: RetryPolicy) -> requests.Session:
    session = requests.Session()
    # identity: bytes are counted and hashed as the server has them.
    session.headers.update(
        {
            "User-Agent": f"asd/{__version__} {requests.utils.default_user_agent()}",
            "Accept-Encoding": "identity",
        }
    )
    adapter = HTTPAdapter(max_retries=_Retry.of(url, patience))
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


@contextmanager
def _answer(
    session: requests.Session,
    url: str,
    headers: dict[str, str],
    patience: RetryPolicy,
    allowed: tuple[int, ...],
) -> Iterator[requests.Response]:
    """The server's answer with an allowed status, its content still to be read.

    Raises
    ------
    UserError
        Trying again would not help, or has not helped.
    _BrokenError
        Trying again may help.
    """
    try:
        response = session.get(url, headers=headers, stream=True, timeout=patience.timeout_s)
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        cause = error.args[0] if error.args else None
        if isinstance(cause, MaxRetryError):
            raise _gave_up(url, cause.reason or cause, patience) from error
        raise _BrokenError(_one_line(error)) from error
    except (requests.RequestException, ValueError) as error:  # a redirect to nowhere
        raise UserError(
            f"{url}: cannot be downloaded ({_one_line(error)}); "
            "see in a browser whether the file is still there"
        ) from error
    with response:
        if response.status_code not in allowed:
            raise _refusal(response.status_code, url, patience)
        yield response


def _refusal(code: int, url: str, patience: RetryPolicy) -> UserError:
    """What an HTTP status means for the user."""
    phrase = HTTPStatus(code).phrase if code in HTTPStatus._value2member_map_ else "unknown"
    status = f"HTTP status {code} {phrase}"
    if code in _BUSY:
        return _gave_up(url, status, patience)
    if code == HTTPStatus.FORBIDDEN:
        return UserError(
            f"{url}: the server refuses this program ({status}); "
            "try again in an hour, or get the file with a browser"
        )
    return UserError(
        f"{url}: cannot be downloaded ({status}); see in a browser whether the file is still there"
    )


def _gave_up(url: str, reason: object, patience: RetryPolicy) -> UserError:
    return UserError(
        f"{url}: gave up after {patience.retries + 1} failed attempts (the last: "
        f"{_one_line(reason)}); check the connection and run the same command again, it goes on "
        "from where it was"
    )


def _blocks(response: requests.Response) -> Iterator[bytes]:
    """The answer's content as it comes in, so that a broken connection loses nothing received."""
    try:
        while block := response.raw.read1(_BLOCK_BYTES, decode_content=False):
            yield block
    except (HTTPError, OSError) as error:
        raise _BrokenError(_one_line(error)) from error


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
