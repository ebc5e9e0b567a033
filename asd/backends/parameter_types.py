"""Checks a backend's parameters against their types, the one place that states their limits."""

import math
import types
from dataclasses import fields
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from asd.errors import UserError

_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str,), "text"),
}


def check_fields(instance: Any) -> None:
    """Raise a UserError unless every parameter of a dataclass has a value that its type allows."""
    hints = get_type_hints(type(instance), include_extras=True)
    for field in fields(instance):
        if field.init:
            value = getattr(instance, field.name)
            if problem := mismatch(value, hints[field.name]):
                raise UserError(f"{field.name} is {value!r}, must be {problem}")


def mismatch(value: Any, kind: Any) -> str:
    """What a value must be to be of a type, or "" where it is.

    Types are int, float, bool, str, `Literal`, `Annotated[..., Range]` and unions with None; of
    others nothing is known, and any value passes.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        plain, allowed = arguments[0], arguments[1]
        problem = mismatch(value, plain)
        if problem or not allowed.holds(value):
            limits = str(allowed)
            return limits if limits.startswith("a number") else f"{_PLAIN[plain][1]}, {limits}"
        return ""
    if origin is Literal:
        return "" if value in arguments else f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, types.UnionType):
        problems = [mismatch(value, argument) for argument in arguments]
        return "" if "" in problems else " or ".join(problems)
    if kind is type(None):
        return "" if value is None else "null"
    if kind not in _PLAIN:
        return ""
    allowed_types, words = _PLAIN[kind]
    fits = isinstance(value, allowed_types) and (kind is bool or not isinstance(value, bool))
    return "" if fits and not (isinstance(value, float) and math.isnan(value)) else words
