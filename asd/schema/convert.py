"""Values from text, YAML and Python, as the types of parameters say."""

import math
import os
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_NONE_WORDS = ("none", "null", "")
_BOOLEANS = {
    # "full" and "simple" are what the official --shuffle also takes.
    **dict.fromkeys(("true", "1", "yes", "on", "full", "simple"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def convert(kind: Any, value: Any) -> Any:
    """Turn what the command line, YAML or Python gave into a type.

    Parameters
    ----------
    kind
        int, float, bool, str, Path, a Literal of texts, one of these or None, a tuple of them, or
        any of these Annotated with a range (`asd.schema.values`).
    value
        A text, a value of that type, or for tuples a list of them.

    Raises
    ------
    ValueError
        With what was expected.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _ranged(convert(arguments[0], value), arguments[1])
    if origin in (Union, types.UnionType):
        return _first_that_fits(arguments, value)
    if origin is Literal:
        return _chosen(arguments, value)
    if origin is tuple:
        return _tuple(arguments, value)
    if kind in _CONVERTERS:
        return _CONVERTERS[kind](value)
    raise TypeError(f"no value can be read as {kind!r}")


def choices_of(kind: Any) -> tuple[Any, ...]:
    """All values that a type has, also as the items of a tuple; none where there is no list."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    if get_origin(kind) in (tuple, Union, types.UnionType, Annotated):
        return choices_of(get_args(kind)[0])
    return ()


def base_of(kind: Any) -> Any:
    """The plain type under Annotated, None and tuple: int of `tuple[Count, ...] | None`."""
    if get_origin(kind) in (Annotated, Union, types.UnionType, tuple):
        return base_of(get_args(kind)[0])
    return str if get_origin(kind) is Literal else kind


def _ranged(value: Any, allowed: Any) -> Any:
    if not allowed.holds(value):
        raise ValueError(str(allowed))
    return value


def _first_that_fits(kinds: Sequence[Any], value: Any) -> Any:
    """None, or a value of the first kind that takes it."""
    some = [kind for kind in kinds if kind is not type(None)]
    is_none = value is None or str(value).lower() in _NONE_WORDS
    if is_none and len(some) < len(kinds):
        return None
    expected = []
    for kind in some:
        try:
            return convert(kind, value)
        except ValueError as error:
            expected.append(str(error))
    raise ValueError(" or ".join(expected))


def _chosen(choices: Sequence[Any], value: Any) -> Any:
    """The choice of that name; upper and lower case are the same where that is unambiguous."""
    by_name = {str(choice).casefold(): choice for choice in choices}
    text = "" if isinstance(value, (list, tuple, dict)) else str(value)
    if text.casefold() not in by_name:
        raise ValueError(f"{'one of ' if len(choices) > 1 else ''}{', '.join(map(str, choices))}")
    return by_name[text.casefold()]


def _tuple(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    """A list as it stands; the words of one text, as in the line "--machine_types: fan ToyCar"."""
    items = value.split() if isinstance(value, str) else value
    if not isinstance(items, Sequence):
        items = () if items is None else (items,)
    if kinds[-1] is Ellipsis:
        return tuple(convert(kinds[0], item) for item in items)
    if len(items) != len(kinds):
        raise ValueError(f"{len(kinds)} values")
    return tuple(convert(kind, item) for kind, item in zip(kinds, items, strict=True))


def _to_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        if not isinstance(value, bool) and (number := _number(value)).is_integer():
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("a whole number")


def _to_float(value: Any) -> float:
    try:
        if not isinstance(value, bool) and math.isfinite(number := _number(value)):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("a number")


def _number(value: Any) -> float:
    """A float; of texts only those in ASCII digits, without the underscores of Python."""
    if isinstance(value, str) and (not value.isascii() or "_" in value):
        raise ValueError("a number")
    return float(value)


def _to_bool(value: Any) -> bool:
    try:
        return _BOOLEANS[str(value).lower()]
    except KeyError:
        raise ValueError("True or False") from None


def _to_text(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    if value is None:
        return ""
    raise ValueError("a text")


def _to_path(value: Any) -> Path:
    text = str(value) if isinstance(value, Path) else _to_text(value)
    if not text or "\0" in text:
        raise ValueError("a path")
    return Path(os.path.expanduser(text))


_CONVERTERS: dict[Any, Any] = {
    int: _to_int,
    float: _to_float,
    bool: _to_bool,
    str: _to_text,
    Path: _to_path,
}
