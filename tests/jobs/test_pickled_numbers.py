import os
import pickle
import random
import struct
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd.jobs.pickled_numbers import MOST_BYTES, RefusedError, read_numbers

SCALARS = [float, int, np.float64, np.float32, np.float16, np.int64, np.int32, np.int8, np.uint16]


@given(
    st.lists(st.sampled_from(SCALARS).flatmap(lambda kind: st.integers(0, 100).map(kind))),
    st.sampled_from([list, tuple]),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_numbers_of_every_type_and_protocol_are_what_pickle_reads(numbers, kind, protocol):
    content = pickle.dumps(kind(numbers), protocol=protocol)
    assert read_numbers(content) == [float(number) for number in numbers]


@given(
    st.lists(st.floats(allow_nan=False), max_size=5), st.sampled_from(["<f8", ">f8", "<f4", ">f4"])
)
def test_byte_orders_are_kept(numbers, code):
    with np.errstate(over="ignore"):
        scalars = list(np.array(numbers, code))
    # As on a machine of the other byte order: NumPy's scalars lose it, so the opcodes are changed.
    content = pickle.dumps(scalars, protocol=4)
    if code[0] == ">":
        native = np.dtype(code).newbyteorder("<")
        content = content.replace(b"\x8c\x01<", b"\x8c\x01>")
        for scalar in scalars:
            content = content.replace(
                b"C%c%s" % (native.itemsize, scalar.tobytes()),
                b"C%c%s" % (native.itemsize, scalar.tobytes()[::-1]),
            )
    assert read_numbers(content) == [float(scalar) for scalar in scalars]


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [Calls(os.mkdir, "made"), Calls(np.zeros, 3), np.zeros(3), Calls(print), Calls(eval, "1")],
    ids=["mkdir", "zeros", "array", "print", "eval"],
)
def test_nothing_is_called(value, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((RefusedError, ValueError)):
        read_numbers(pickle.dumps([value, 1.0], protocol=protocol))
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_is_named_on_one_line():
    with pytest.raises(RefusedError, match=r"^'posix.mkdir'$|^'nt.mkdir'$"):
        read_numbers(pickle.dumps(Calls(os.mkdir, "made")))
    evil = b"\x8c\x05a\nb\x1bc\x8c\x03def\x93."
    with pytest.raises(RefusedError, match=r"^'a\\nb\\x1bc\.def'$"):
        read_numbers(evil)


def global_name(module, name):
    return b"c%s\n%s\n" % (module.encode(), name.encode())


DTYPE = global_name("numpy", "dtype")
F8 = DTYPE + b"(\x8c\x02f8\x89\x88tR"
STATE = b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
SCALAR = global_name("numpy._core.multiarray", "scalar")
ONE_AND_A_HALF = b"C\x08" + struct.pack("<d", 1.5)


def test_the_opcodes_used_below_are_numpys():
    content = b"]" + SCALAR + b"(" + F8 + STATE + ONE_AND_A_HALF + b"tRa."
    assert pickle.loads(content) == read_numbers(content) == [1.5]  # noqa: S301 - made here


@pytest.mark.parametrize(
    "content",
    [
        # A dtype of objects: its bytes would be taken for addresses.
        DTYPE + b"(\x8c\x01O\x89\x88tR",
        DTYPE + b"(\x8c\x02O8\x89\x88tR" + STATE,
        # States with fields, a base type, or of wrong form.
        F8 + b"(K\x03\x8c\x01<N\x8c\x01aNK\x08K\x01K\x1btb",
        F8 + b"(K\x03\x8c\x02<>NNNK\x00K\x00K\x00tb",
        F8 + b"(tb",
        F8 + b"Nb",
        b"]" + b"(K\x03\x8c\x01<NNNtb",
        # Bytes that are too few, too many, or none.
        SCALAR + b"(" + F8 + STATE + b"C\x04abcdtR",
        SCALAR + b"(" + F8 + STATE + b"C\x09abcdefghitR",
        SCALAR + b"(" + F8 + STATE + b"\x8c\x08abcdefghtR",
        SCALAR + b"(" + F8 + b"NtR",
        SCALAR + b"(NNtR",
        SCALAR + b"(tR",
        # Calls of what is no function, opcodes of other things, an empty stack.
        b"K\x01(tR", b"K\x01K\x01R", b"R", b"t", b"a", b"e", b"b", b"\x93", b"2", b"0", b"g5\n",
        b"h\x05", b"\x94", b"q\x01", b"}", b"\x8f", b"P1\n", b"Q", b"i\n", b"\x81", b"\x92",
        b"\x82\x01",
        b"]K\x01K\x02K\x03", b"\x85", b"(\x85", b"K\x01\x86",
        # Not numbers, or no list.
        b"\x8c\x03123", b"K\x7b", b"C\x03123", b"](\x88\x88\x88e", b"]N" + b"a", b"](](e" + b"e",
        b"](\x8c\x011\x8c\x012\x8c\x013e", b"(K\x01K\x02", b"]\x94h\x00a",
        b"]\x8b\xff\x00\x00\x00" + b"\x01" * 255 + b"a",  # too large for a float
        b"]I" + b"9" * 5000 + b"\na",
        b"]Fx\na", b"",
    ],
    ids=lambda content: ascii(content)[2:40],
)  # fmt: skip
def test_other_content_is_refused(content):
    for text in (content + b".", content):
        with pytest.raises((ValueError, RefusedError)):
            read_numbers(text)


def test_memory_and_time_do_not_grow_beyond_the_file():
    """Numbers in the memo that ask for gigabytes, lists of lists of 2^1000 ends, huge lengths."""
    doubling = b"]\x94" + b"".join(b"](h%ch%ce\x94" % (n, n) for n in range(250)) + b"."
    tuples = b")\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(250))
    bombs = [
        b"]r\xff\xff\xff\x7f(j\xff\xff\xff\x7fe.",  # LONG_BINPUT 2^31 - 1
        doubling,
        b"(" + doubling[:-1] + b"t" + b".",
        doubling[:-1] + b"0" + DTYPE + b"(h\xfatR.",
        tuples + DTYPE + b"h\xfa\x85R.",  # hashing it would take 2^250 steps
        tuples + SCALAR + b"h\xfa\x85R.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f" + b"a.",  # BINBYTES8 of 2^63 - 1
        b"]" * 16_000 + b"a" * 300 + b".",
        b"(" * 16_000 + b".",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f].",
        b"]" + b"K\x01a" * (MOST_BYTES // 3),
    ]
    start = time.process_time()
    tracemalloc.start()
    try:
        for bomb in bombs:
            with suppress(ValueError, RefusedError):
                read_numbers(bomb)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 5


def test_long_files_are_refused():
    with pytest.raises(ValueError, match=f"more than {MOST_BYTES} bytes"):
        read_numbers(b"]." + bytes(MOST_BYTES))


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_changed_bytes_give_numbers_or_a_refusal(protocol):
    whole = pickle.dumps([np.float64(1.5), 2.0, 3], protocol=protocol)
    draw = random.Random(13711)
    for _ in range(3000):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        with suppress(ValueError, RefusedError):
            assert all(type(number) is float for number in read_numbers(bytes(changed)))


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_give_numbers_or_a_refusal(content):
    with suppress(ValueError, RefusedError):
        assert all(type(number) is float for number in read_numbers(content))
