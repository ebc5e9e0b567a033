"""Damage to files, drawn from a seed, and what a reader may do about it."""

import json
import os
import re
import resource
import signal
import sys
import time
from contextlib import contextmanager
from random import Random

import pytest

from asd.errors import UserError

SLOWEST_S = 20  # of a case; on a busy machine most take milliseconds
MOST_BYTES = 1 << 30  # of memory that a case may ask for
LONGEST_MESSAGE = 1500

NUMBER = re.compile(rb"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
TEXT_NUMBERS = [
    b"0", b"-1", b"1e400", b"-1e-400", b"nan", b"-inf", b"9" * 30, b"9" * 5000, b"1_000",
    b"0x10", b"2147483648", b"9223372036854775808", b"1e18", b"1e9", b"4294967295", b"", b" 1 ",
    b"\xd9\xa3", b"null", b"true", b'"1"', b"[]", b"{}", b"[1]", b"0.5", b"2026-99-99", b"!!int x",
]  # fmt: skip
TOKENS = [
    b"\0", b"\x1b[2J", b"\xef\xbb\xbf", b"\xff", b'"', b"'", b",", b";", b"\t", b"\r", b"\n",
    b"\r\n", b"\n\n", b":", b"-", b"[", b"{", b"]", b"}", b"&a ", b"*a", b"!!python/none ", b"#",
    b"%", b"../", b"/", b"\\", b"=", b"\xe2\x80\xa8", b"\xc2\x85", b"\xed\xa0\x80", b"null",
    b"[" * 3000, b'{"a":' * 3000, b"- " * 3000, b'"\\ud800"', b"!!int ", b"!!binary ", b"? ",
    b"| ", b"---\n", b"...\n", b"~nouser/", b"x" * 70_000,
]  # fmt: skip
EXTREMES = [0, 1, -1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, -2, 0x7FFFF000]


# --- mutations: random numbers and bytes in, bytes out --------------------------------------------


def flip_bit(draw, whole):
    changed = bytearray(whole)
    changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def change_byte(draw, whole):
    changed = bytearray(whole)
    changed[draw.randrange(len(whole))] = draw.randrange(256)
    return bytes(changed)


def change_head(draw, whole):
    """A byte of the header, which says more than any other."""
    changed = bytearray(whole)
    changed[draw.randrange(min(len(whole), 64))] = draw.choice([0, 1, 0x7F, 0x80, 0xF0, 0xFF])
    return bytes(changed)


def insert(draw, whole):
    at = draw.randint(0, len(whole))
    return whole[:at] + draw.choice(TOKENS) + whole[at:]


def delete(draw, whole):
    at = draw.randrange(len(whole))
    return whole[:at] + whole[at + min(draw.randint(1, 64), len(whole) - 1) :]


def truncate(draw, whole):
    return whole[: draw.randrange(len(whole))]


def repeat(draw, whole):
    """A block again, once or many times."""
    at = draw.randrange(len(whole))
    block = whole[at : at + draw.randint(1, 256)]
    return whole[:at] + block * draw.choice([2, 2, 2, 100]) + whole[at + len(block) :]


def swap(draw, whole):
    one, two, three = sorted(draw.randint(0, len(whole)) for _ in range(3))
    return whole[:one] + whole[two:three] + whole[one:two] + whole[three:]


def change_text_number(draw, whole):
    found = list(NUMBER.finditer(whole[:100_000]))
    if not found:
        return change_byte(draw, whole)
    start, end = draw.choice(found).span()
    return whole[:start] + draw.choice(TEXT_NUMBERS) + whole[end:]


def change_binary_number(draw, whole):
    size = draw.choice([2, 4, 8])
    at = draw.randrange(max(len(whole) - size, 1))
    number = (draw.choice(EXTREMES) % (1 << 8 * size)).to_bytes(size, "little")
    return whole[:at] + number + whole[at + size :]


def change_line(draw, whole):
    """A line left out, doubled, or put elsewhere."""
    lines = whole.splitlines(keepends=True)
    line = lines.pop(draw.randrange(len(lines)))
    for _ in range(draw.randint(0, 2)):
        lines.insert(draw.randint(0, len(lines)), line)
    return b"".join(lines)


ANYWHERE = (flip_bit, change_byte, insert, delete, truncate, repeat, swap)
TEXT = (*ANYWHERE, change_text_number, change_text_number, change_line)
BINARY = (*ANYWHERE, change_head, change_binary_number)


def mutate(draw, whole, mutations):
    """Bytes that differ from `whole` in one to three ways."""
    changed = whole
    while changed == whole:
        for _ in range(draw.choice([1, 1, 2, 3])):
            changed = draw.choice(mutations)(draw, changed) or b"\0"
    return changed


# --- what readers may do --------------------------------------------------------------------------


class Hang(BaseException):
    """A case took too long; not an Exception, which readers may catch."""


@contextmanager
def within_limits():
    """Stop a case that takes too long, and refuse it more than a gigabyte of memory."""

    def stop(*_):
        raise Hang(f"more than {SLOWEST_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SLOWEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def little_memory():
    """Readers that ask for more than `MOST_BYTES` get a MemoryError, where the system can do so."""
    if not sys.platform.startswith("linux"):
        yield
        return
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refusal_fault(error):
    """What is wrong with the message of a refusal, "" if nothing is."""
    text, cause = str(error), error
    while cause is not None:
        if isinstance(cause, MemoryError) or "alloc" in str(cause):
            return f"asked for too much memory: {cause!r:.200}"
        cause = cause.__cause__ or cause.__context__
    if not text.isprintable() or not text.strip():
        return f"no line that can be printed: {text!r:.200}"
    return f"a line of {len(text)} letters" if len(text) > LONGEST_MESSAGE else ""


def fault_of(subject, path, content):
    """What a reader does wrong with changed bytes, "" if nothing; `content` is the old content."""
    try:
        with within_limits():
            found = subject.read(path)
            if subject.is_checked and found != content:
                return "accepted a change of content"
            return subject.fault(found)
    except (UserError, *subject.refusals) as error:
        return refusal_fault(error)
    except (Exception, Hang) as error:
        return f"{type(error).__name__} in {_place(error)}: {error!s:.200}"


def _place(error):
    """The deepest line of this package in a traceback."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "/asd/" in file and "site-packages" not in file:
            place = f"{os.path.basename(file)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


@pytest.fixture
def fuzz(little_memory, tmp_path):  # noqa: ARG001
    """Check a format: every fault once, with the number of the first case that shows it.

    The changed file of that case is kept below the test's folder. ASD_FUZZ_SECONDS sets the time
    that all formats together may take, in place of the number of cases of each.
    """

    def run(subject, formats):
        whole = subject.make(tmp_path)
        path = tmp_path / subject.file
        content = subject.read(path)
        seconds = float(os.environ.get("ASD_FUZZ_SECONDS", 0)) / formats
        end = time.monotonic() + seconds
        faults, case = {}, 0
        while time.monotonic() < end if seconds else case < subject.cases:
            draw = Random(f"{subject.name} {case}")
            changed = subject.change(draw, whole)
            path.write_bytes(changed)
            if fault := fault_of(subject, path, content):
                key = re.sub(r"\d+|'[^']*'", "", fault)[:60]
                if key not in faults:
                    faults[key] = f"case {case}: {fault}"
                    (tmp_path / f"case_{case}").write_bytes(changed)
            case += 1
        assert not faults, f"{subject.name}: " + json.dumps([*faults.values()], indent=1)

    return run


@pytest.fixture(scope="session")
def damage():
    """The mutations, for formats that change their content in ways of their own."""
    return sys.modules[__name__]
