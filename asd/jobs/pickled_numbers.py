"""Numbers out of a pickle of unknown origin, without unpickling it.

pickletools takes the file apart; what its opcodes ask for is then done here on plain values, as far
as a list of floats or NumPy scalars needs it. Nothing is imported, called or built, so no state
from the file reaches NumPy, and time and memory grow with the file alone.

Source: Lib/pickletools.py of CPython 3.11; NumPy's dtype.__reduce__ and generic.__reduce__.
"""

import pickletools
import re
import struct
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 1 << 14  # three numbers take some 200

_DTYPE = "numpy dtype"
_SCALARS = ("numpy.core.multiarray scalar", "numpy._core.multiarray scalar")
_ENCODE = "_codecs encode"  # how protocols 0 to 2 write bytes
_STRUCT_CODES = {
    "f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
}  # fmt: skip

_ARGUMENTS = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
        "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
    }
)  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class RefusedError(Exception):
    """The pickle names something that is no number; the text says what."""


@dataclass(frozen=True)
class _Global:
    """Something that the pickle names, "module name": never looked up."""

    name: str


@dataclass
class _Dtype:
    """A number type of NumPy: a code such as "f8", and a byte order of the struct module's."""

    code: str
    order: str = "="


def read_numbers(content: bytes) -> list[float]:
    """The numbers of a pickled list or tuple.

    Raises
    ------
    RefusedError
        Something other than numbers would have to be loaded.
    ValueError
        This is no pickle, or one of something else.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    try:
        values = _run(content)
        if type(values) not in (list, tuple):
            raise ValueError("no list")
        if not all(type(value) in (int, float) for value in values):
            raise ValueError("not all are numbers")
        return [float(value) for value in values]
    except (ArithmeticError, AttributeError, LookupError, TypeError, struct.error) as error:
        raise ValueError("no pickle of numbers") from error


def _run(content: bytes) -> Any:
    """What the pickle holds, as plain values. Nonsense raises any of the errors caught above."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    opcode: pickletools.OpcodeInfo
    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in _ARGUMENTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument)])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name not in ("PROTO", "FRAME", "STOP"):
            _change(stack, name, argument)
    return stack[-1]


def _change(stack: list[Any], name: str, argument: Any) -> None:
    """Do what an opcode does to the stack alone."""
    if name == "MARK":
        stack.append(_MARK)
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name == "LIST":
        stack.append(_above_mark(stack))
    elif name == "TUPLE":
        stack.append(tuple(_above_mark(stack)))
    elif name in _TUPLES:
        stack.append(tuple(_pop(stack, _TUPLES[name])))
    elif name == "APPEND":
        stack[-2].append(stack.pop())
    elif name == "APPENDS":
        values = _above_mark(stack)
        stack[-1].extend(values)
    elif name == "GLOBAL":
        stack.append(_named(argument))
    elif name == "STACK_GLOBAL":
        stack.append(_named(" ".join(_pop(stack, 2))))
    elif name == "REDUCE":
        function, arguments = _pop(stack, 2)
        stack.append(_call(function, arguments))
    elif name == "BUILD":
        dtype, state = _pop(stack, 2)
        _set_order(dtype, state)
        stack.append(dtype)
    else:
        raise ValueError(f"opcode {name}")


def _pop(stack: list[Any], count: int) -> list[Any]:
    if len(stack) < count:
        raise ValueError("the stack is empty")
    values = stack[-count:]
    del stack[-count:]
    return values


def _above_mark(stack: list[Any]) -> list[Any]:
    values = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _named(name: str) -> _Global:
    if name not in (_DTYPE, _ENCODE, *_SCALARS):
        raise RefusedError(ascii(name.replace(" ", ".", 1)[:80]))
    return _Global(name)


def _call(function: _Global, arguments: tuple[Any, ...]) -> Any:
    """What a call would return: a number type, bytes or a number."""
    # Neither hash nor print what may be nested: a short file can hold lists of 2^1000 numbers.
    if function.name == _DTYPE and type(arguments[0]) is str and arguments[0] in _STRUCT_CODES:
        return _Dtype(arguments[0])
    if function.name == _ENCODE and type(arguments[0]) is str and arguments[1] == "latin1":
        return arguments[0].encode("latin1")
    if function.name in _SCALARS:
        dtype, content = arguments
        return struct.unpack(dtype.order + _STRUCT_CODES[dtype.code], content)[0]
    raise RefusedError(f"another use of {function.name}")


def _set_order(dtype: _Dtype, state: tuple[Any, ...]) -> None:
    """Take the byte order out of a dtype's state: (version, order, five to nine more)."""
    order = state[1]
    if not isinstance(dtype, _Dtype) or not re.fullmatch(r"[<>=|]", order):
        raise ValueError("a state that is no byte order")
    dtype.order = "=" if order == "|" else order
