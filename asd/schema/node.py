"""Typed values from YAML text; every mistake is a UserError with file, line and key.

What may stand in a file is said by the types of a dataclass, or of a constructor's keyword
parameters: there is no second list of keys.
"""

import inspect
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from asd.errors import UserError
from asd.schema.values import Range
from asd.words import nearest

T = TypeVar("T")
_KIND = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class Node:
    """A value in a YAML file, and where it stands.

    Parameters
    ----------
    file, key
        File name, and the keys that lead to the value, such as "training.epochs".
    node
        What PyYAML composed; None for an empty file.
    """

    def __init__(self, file: str, key: str, node: yaml.Node | None) -> None:
        self.file = file
        self.key = key
        self.node = node

    @classmethod
    def parse(cls, file: str, text: str) -> "Node":
        """The whole of a file.

        Raises
        ------
        UserError
            The text is not YAML.
        """
        try:
            return cls(file, "", yaml.compose(text, Loader=yaml.SafeLoader))
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
            raise UserError(f"{file}{line}: is not YAML ({problem}); mend the line") from None

    def fail(self, problem: str) -> UserError:
        """The error to raise about this value."""
        line = self.node.start_mark.line + 1 if self.node else 1
        key = f" {self.key}:" if self.key else ""
        return UserError(f"{self.file}:{line}:{key} {problem}")

    def plain(self) -> Any:
        """The value without types."""
        if self.node is None:
            return None
        try:
            return yaml.SafeLoader("").construct_document(self.node)
        except yaml.YAMLError as error:
            raise self.fail(f"is not plain YAML ({getattr(error, 'problem', error)})") from None

    def items(self, known: Collection[str] | None = None) -> dict[str, "Node"]:
        """The entries of a mapping; with `known`, others are errors."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.fail(f"{self._shown()} is no mapping; write keys and values below it")
        entries: dict[str, Node] = {}
        for key_node, value in self.node.value:
            key = str(key_node.value)
            entry = Node(self.file, f"{self.key}.{key}" if self.key else key, value)
            if known is not None and key not in known:
                at = Node(self.file, entry.key, key_node)
                raise at.fail(f"unknown key{nearest(key, known)}; known keys: {', '.join(known)}")
            if key in entries:
                raise Node(self.file, entry.key, key_node).fail("stands twice; remove one")
            entries[key] = entry
        return entries

    def elements(self) -> list["Node"]:
        """The elements of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.fail(f"{self._shown()} is no list; write [a, b] or lines that begin with -")
        return [Node(self.file, f"{self.key}[{i}]", node) for i, node in enumerate(self.node.value)]

    def read(self, kind: Any) -> Any:
        """The value as a type: a number, text, Literal, Optional, tuple, Annotated or dataclass."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._ranged(self.read(arguments[0]), arguments[1])
        if origin in (Union, types.UnionType):
            return self._optional([a for a in arguments if a is not type(None)])
        if origin is Literal:
            return self.choose(arguments)
        if origin is tuple:
            return self._tuple(arguments)
        if hasattr(kind, "from_node"):
            return kind.from_node(self)
        if hasattr(kind, "__dataclass_fields__"):
            return self.read_dataclass(kind)
        return self._scalar(kind)

    def read_dataclass(self, kind: Callable[..., T]) -> T:
        """The value as a dataclass, whose fields are the keys."""
        hints = get_type_hints(kind, include_extras=True)
        shown = [f for f in fields(kind) if f.init]  # type: ignore[arg-type]
        entries = self.items([f.name for f in shown])
        for f in shown:
            if f.default is MISSING and f.default_factory is MISSING and f.name not in entries:
                raise self.fail(f"key {f.name!r} is missing; add it")
        return kind(**{key: entry.read(hints[key]) for key, entry in entries.items()})

    def read_arguments(
        self, constructor: Callable[..., Any], entries: Mapping[str, "Node"]
    ) -> dict[str, Any]:
        """Entries as a constructor's keyword-only parameters."""
        parameters = inspect.signature(constructor).parameters.values()
        known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        function = constructor.__init__ if inspect.isclass(constructor) else constructor
        hints = get_type_hints(function, include_extras=True)
        for key, entry in entries.items():
            if key not in known:
                options = f"known keys: {', '.join(known)}"
                raise entry.fail(f"unknown key{nearest(key, known)}; {options}")
        return {key: entry.read(hints[key]) for key, entry in entries.items()}

    def choose(self, choices: Collection[Any]) -> Any:
        """The value, which is one of `choices`."""
        value = self.plain()
        if value not in choices:
            options = ", ".join(map(str, choices))
            raise self.fail(
                f"{self._shown()} is unknown{nearest(str(value), choices)}; choose from {options}"
            )
        return value

    def _optional(self, kinds: list[Any]) -> Any:
        """None, or a value of the first kind that takes it; the last kind's error is raised."""
        if self.plain() is None:
            return None
        for kind in kinds[:-1]:
            try:
                return self.read(kind)
            except UserError:
                continue
        return self.read(kinds[-1])

    def _tuple(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        elements = self.elements()
        if arguments[-1] is ...:
            return tuple(element.read(arguments[0]) for element in elements)
        if len(elements) != len(arguments):
            raise self.fail(f"has {len(elements)} elements, must have {len(arguments)}")
        pairs = zip(elements, arguments, strict=True)
        return tuple(element.read(kind) for element, kind in pairs)

    def _scalar(self, kind: type) -> Any:
        value = self.plain()
        if kind is float and not isinstance(value, bool):
            try:
                return float(value)  # takes 1e-3 too, which YAML 1.1 reads as text
            except (TypeError, ValueError):
                pass
        elif type(value) is kind:
            return value
        raise self.fail(f"{self._shown()} must be {_KIND.get(kind, kind.__name__)}")

    def _ranged(self, value: Any, allowed: Range) -> Any:
        if not allowed.holds(value):
            raise self.fail(f"{value} must be {allowed}")
        return value

    def _shown(self) -> str:
        value = self.plain()
        return repr(value) if isinstance(value, str) else str(value)
