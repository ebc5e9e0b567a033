"""Typed values from YAML text; every mistake is a UserError with file, line and key.

What may stand in a file is said by the types of a dataclass, or of a constructor's keyword
parameters: there is no second list of keys.
"""

import inspect
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from yaml.representer import SafeRepresenter

from asd.errors import UserError
from asd.schema.convert import convert
from asd.words import nearest

T = TypeVar("T")

_MAX_BYTES = 1_000_000
_NULL = "tag:yaml.org,2002:null"
_TEXT = "tag:yaml.org,2002:str"
_MAPPING = "tag:yaml.org,2002:map"
_STEP = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")


class Node:
    """A value in a YAML file, and where it stands.

    Parameters
    ----------
    key
        The keys that lead to the value, such as "training.epochs".
    node
        What PyYAML composed; None for an empty file.
    file
        What errors call the file of a node that has no line.
    """

    def __init__(self, key: str, node: yaml.Node | None, file: str) -> None:
        self.key = key
        self.node = node
        self.file = file

    @classmethod
    def parse(cls, file: str, text: str) -> "Node":
        """The whole of a text.

        Raises
        ------
        UserError
            The text is not YAML, or nested too deeply.
        """
        try:
            return cls("", _compose(file, text), file)
        except yaml.YAMLError as error:
            where = _place(file, getattr(error, "problem_mark", None))
            problem = getattr(error, "problem", None) or " ".join(str(error).split())
            raise UserError(f"{where}: not valid YAML ({problem}); mend the line") from None
        except RecursionError:
            raise UserError(f"{file}: not valid YAML (nested too deeply); mend it") from None

    @classmethod
    def read_file(cls, path: Path, hint: str) -> "Node":
        """The whole of a file; an error about reading it ends in `hint`.

        Raises
        ------
        UserError
            The file cannot be read, or is not YAML.
        """
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_BYTES + 1).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise UserError(f"{path}: cannot be read ({reason}); {hint}") from None
        if len(text) > _MAX_BYTES:
            raise UserError(f"{path}: cannot be read (more than {_MAX_BYTES} bytes); {hint}")
        return cls.parse(str(path), text)

    @classmethod
    def of_plain(cls, value: Any, file: str) -> "Node":
        """A plain value, as `asd.schema.parameters.plain` gives it, to be read with types."""
        return cls("", SafeRepresenter(sort_keys=False).represent_data(value), file)

    def error(self, problem: str) -> UserError:
        """The error to raise about this value."""
        where = _place(self.file, self.node.start_mark) if self.node else f"{self.file}:1"
        key = f" {self.key}:" if self.key else ""
        return UserError(f"{where}:{key} {problem}")

    def scalar(self) -> str | None:
        """The value as text, as a flag would give it; None for null.

        YAML's own guesses (007 is 7, 2023-01-01 a date, 1e-3 a text) are left out of it.
        """
        if self.node is None:
            return None
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.error("expected one value, got {...} or [...]")
        return None if _is_null(self.node) else str(self.node.value)

    def scalars(self) -> str | list[str | None] | None:
        """The value as text, or a list of texts."""
        if isinstance(self.node, yaml.SequenceNode):
            return [element.scalar() for element in self.elements()]
        if isinstance(self.node, yaml.MappingNode):
            raise self.error("expected one value or a list of values, got {...}")
        return self.scalar()

    def plain(self) -> Any:
        """The value where its type is not told: dicts, lists, numbers, texts."""
        if isinstance(self.node, yaml.MappingNode):
            return {key: entry.plain() for key, entry in self.items().items()}
        if isinstance(self.node, yaml.SequenceNode):
            return [element.plain() for element in self.elements()]
        return _guessed(self.scalar())

    def pairs(self) -> list[tuple["Node", "Node"]]:
        """Keys and values of a mapping; keys are texts, none stands twice."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"expected keys and values, got {self._shown()}")
        found: dict[str, tuple[Node, Node]] = {}
        for key_node, value in self.node.value:
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if name is None:
                raise Node(self.key, key_node, self.file).error("expected keys such as 'epochs:'")
            path = f"{self.key}.{name}" if self.key else str(name)
            key = Node(path, key_node, self.file)
            if name in found:
                raise key.error("stands twice; remove one")
            found[name] = key, Node(path, value, self.file)
        return list(found.values())

    def is_mapping(self) -> bool:
        """Whether the value is a mapping of keys to values."""
        return isinstance(self.node, yaml.MappingNode)

    def items(self, known: Collection[str] | None = None) -> dict[str, "Node"]:
        """The entries of a mapping; with `known`, others are errors."""
        entries: dict[str, Node] = {}
        for key, value in self.pairs():
            name = str(key.scalar())
            if known is not None and name not in known:
                raise key.error(f"unknown key{nearest(name, known)}; known: {', '.join(known)}")
            entries[name] = value
        return entries

    def elements(self) -> list["Node"]:
        """The elements of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"expected a list such as [a, b], got {self._shown()}")
        nodes = enumerate(self.node.value)
        return [Node(f"{self.key}[{i}]", node, self.file) for i, node in nodes]

    def at(self, key: str) -> "Node | None":
        """The value at a dotted key below this one; None where there is none."""
        node = self.node
        for step in _steps(key):
            node = _child(node, step)
        return Node(key, node, self.file) if node else None

    def replace(self, key: str, value: "Node") -> None:
        """Put another value at a dotted key below this one, such as "losses[0].weight".

        Keys that are not there are added, and checked when they are read.

        Raises
        ------
        UserError
            The key leads through a list or value that is not there.
        """
        steps = _steps(key)
        if not steps or _joined(steps) != key:
            raise value.error("expected a key such as training.epochs or losses[0].weight")
        node, new = self.node, value.node or yaml.ScalarNode(_NULL, "")
        try:
            for step in steps[:-1]:
                child = _child(node, step)
                if child is None or _is_null(child):
                    child = yaml.MappingNode(_MAPPING, [], new.start_mark, new.end_mark)
                    _set_child(node, step, child)
                node = child
            _set_child(node, steps[-1], new)
        except LookupError:
            raise value.error(f"{key}: there is nothing at this place to change") from None

    def over(self, base: "Node", whole: Collection[str] = ()) -> "Node":
        """The mapping laid over another one; entries of both are laid over each other in turn.

        Parameters
        ----------
        whole
            Keys whose presence makes a mapping take the other's place as a whole.
        """
        own, below = self.items(), base.items()
        if any(key in own for key in whole):
            return self
        merged = []
        for key, entry in {**below, **own}.items():
            if key in own and key in below and entry.is_mapping() and below[key].is_mapping():
                entry = entry.over(below[key], whole)
            name = yaml.ScalarNode(_TEXT, key, *_marks(entry.node))
            merged.append((name, entry.node))
        return Node(self.key, yaml.MappingNode(_MAPPING, merged, *_marks(self.node)), self.file)

    def without(self, key: str) -> "Node":
        """The mapping without an entry."""
        kept = [pair for pair in getattr(self.node, "value", []) if pair[0].value != key]
        return Node(self.key, yaml.MappingNode(_MAPPING, kept, *_marks(self.node)), self.file)

    def read(self, kind: Any) -> Any:
        """The value as a type: what `convert` knows, a dataclass, or tuples and options of them."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType) and self._has_structure(arguments):
            some = [argument for argument in arguments if argument is not type(None)]
            return None if _is_null(self.node) else self.read(some[-1])
        if origin is tuple and isinstance(self.node, yaml.SequenceNode):
            return self._tuple(arguments)
        if hasattr(kind, "from_node"):
            return kind.from_node(self)
        if isinstance(kind, type) and is_dataclass(kind):
            return self.read_dataclass(kind)
        return self._converted(kind)

    def read_dataclass(self, kind: Callable[..., T]) -> T:
        """The value as a dataclass, whose fields are the keys."""
        hints = get_type_hints(kind, include_extras=True)
        shown = [each for each in fields(kind) if each.init]  # type: ignore[arg-type]
        entries = self.items([each.name for each in shown])
        for each in shown:
            has_default = each.default is not MISSING or each.default_factory is not MISSING
            if not has_default and each.name not in entries:
                raise self.error(f"key {each.name!r} is missing; add it")
        return kind(**{key: entry.read(hints[key]) for key, entry in entries.items()})

    def read_arguments(
        self, constructor: Callable[..., Any], entries: Mapping[str, "Node"]
    ) -> dict[str, Any]:
        """Entries as a constructor's keyword-only parameters."""
        signature = inspect.signature(constructor).parameters.values()
        known = [p.name for p in signature if p.kind is p.KEYWORD_ONLY]
        function = constructor.__init__ if inspect.isclass(constructor) else constructor
        hints = get_type_hints(function, include_extras=True)
        for key, entry in entries.items():
            if key not in known:
                raise entry.error(f"unknown key{nearest(key, known)}; known: {', '.join(known)}")
        for each in signature:
            if each.name in known and each.default is each.empty and each.name not in entries:
                raise self.error(f"key {each.name!r} is missing; add it")
        return {key: entry.read(hints.get(key, Any)) for key, entry in entries.items()}

    def choose(self, choices: Collection[Any]) -> str:
        """The value, which is one of `choices`."""
        value = self.scalar()
        if value not in choices:
            options = ", ".join(map(str, choices))
            raise self.error(
                f"{self._shown()} is unknown{nearest(str(value), choices)}; choose from {options}"
            )
        return str(value)

    @staticmethod
    def _has_structure(kinds: Iterable[Any]) -> bool:
        return any(hasattr(kind, "from_node") or is_dataclass(kind) for kind in kinds)

    def _tuple(self, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
        elements = self.elements()
        if kinds[-1] is Ellipsis:
            return tuple(element.read(kinds[0]) for element in elements)
        if len(elements) != len(kinds):
            raise self.error(f"expected {len(kinds)} values, got {len(elements)}")
        return tuple(each.read(kind) for each, kind in zip(elements, kinds, strict=True))

    def _converted(self, kind: Any) -> Any:
        if kind is Any:
            return _guessed(self.scalars())
        value = self.scalars()
        if value is None and get_origin(kind) is tuple:
            value = []
        try:
            return convert(kind, value)
        except ValueError as error:
            hint = self._near(kind, value)
            raise self.error(f"expected {error}, got {self._shown()}{hint}") from None

    def _near(self, kind: Any, value: Any) -> str:
        is_choice = get_origin(kind) is Literal
        return nearest(str(value), get_args(kind)) if is_choice else ""

    def _shown(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "{...}"
        if isinstance(self.node, yaml.SequenceNode):
            plain = all(isinstance(node, yaml.ScalarNode) for node in self.node.value)
            return f"[{', '.join(node.value for node in self.node.value)}]" if plain else "[...]"
        value = self.scalar()
        return "nothing" if value is None else repr(value)


def read_set_values(entries: Iterable[str]) -> list[tuple[str, Node]]:
    """The `key=value` texts of the flag `--set`, values as YAML.

    Raises
    ------
    UserError
        A text has no key or no value, or its value is not YAML.
    """
    found = []
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {entry}: expected key=value, such as training.epochs=8")
        found.append((key.strip(), Node.parse(f"--set {entry}", value)))
    return found


def _place(file: str, mark: yaml.Mark | None) -> str:
    """File and line; a flag and what was stored in a model have no lines."""
    name = mark.name if mark else file
    return f"{name}:{mark.line + 1}" if mark and not name.startswith("--") else name


def _compose(name: str, text: str) -> yaml.Node | None:
    """The nodes of a text, which know the file that they are of."""
    loader = yaml.SafeLoader(text)
    loader.name = name
    try:
        node: yaml.Node | None = loader.get_single_node()
        return node
    finally:
        loader.dispose()


def _marks(node: yaml.Node | None) -> tuple[Any, Any]:
    return (node.start_mark, node.end_mark) if node else (None, None)


def _is_null(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _steps(key: str) -> list[str | int]:
    """Names and numbers of a dotted key; `_joined` tells whether that is all of it."""
    return [int(number) if number else name for name, number in _STEP.findall(key)]


def _joined(steps: Iterable[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step] if step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == step), None)
    return None


def _set_child(node: yaml.Node | None, step: str | int, value: yaml.Node) -> None:
    """Put a value into a list or mapping; a LookupError where there is no such place."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        node.value[step] = value
    elif isinstance(node, yaml.MappingNode) and isinstance(step, str):
        new = yaml.ScalarNode(_TEXT, step, value.start_mark, value.end_mark), value
        names = [key.value for key, _ in node.value]
        place = names.index(step) if step in names else len(names)
        node.value[place : place + 1] = [new]
    else:
        raise LookupError


def _guessed(value: Any) -> Any:
    """A value of a parameter whose type is not told: a number if it looks like one.

    1.0 is no whole number, though it may stand where one is asked for.
    """
    if isinstance(value, list):
        return [_guessed(item) for item in value]
    is_whole = isinstance(value, str) and value.lstrip("+-").isdecimal()
    for kind in (int, float) if is_whole else (float,):
        try:
            return convert(kind, value)
        except ValueError:
            continue
    words = {"true": True, "false": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value
