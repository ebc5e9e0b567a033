"""The space of a search: which entries of a system or recipe are varied, and how."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from asd.errors import UserError
from asd.schema.node import Node

if TYPE_CHECKING:
    from optuna.trial import Trial

SCORE = "score"
"""The key that chooses among the scores of a system."""

Values = dict[str, Any]
"""Key -> plain value: what `--set` would say."""


class Range(Protocol):
    """What a key may be."""

    def suggest(self, trial: "Trial", key: str) -> Any:
        """The value that a trial takes."""

    def examples(self) -> list[Any]:
        """Values that must all be possible, its ends among them."""

    def holds(self, value: Any) -> bool:
        """Whether a value is one of those."""


@dataclass(frozen=True)
class Choices:
    """One of some values, which may be lists and mappings."""

    values: tuple[Any, ...]

    def suggest(self, trial: "Trial", key: str) -> Any:
        by_text = {_text(value): value for value in self.values}
        return by_text[trial.suggest_categorical(key, list(by_text))]

    def examples(self) -> list[Any]:
        return list(self.values)

    def holds(self, value: Any) -> bool:
        return value in self.values


@dataclass(frozen=True)
class WholeNumbers:
    """A whole number from `low` to `high`, ends included."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def suggest(self, trial: "Trial", key: str) -> int:
        return trial.suggest_int(key, self.low, self.high, step=self.step, log=self.log)

    def examples(self) -> list[Any]:
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        return _lies_in(self, value)


@dataclass(frozen=True)
class Numbers:
    """A number from `low` to `high`, ends included."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def suggest(self, trial: "Trial", key: str) -> float:
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def examples(self) -> list[Any]:
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        return _lies_in(self, value)


def _lies_in(numbers: WholeNumbers | Numbers, value: Any) -> bool:
    """Whether a value is one that can be drawn."""
    return (
        _is_number(value)
        and numbers.low <= value <= numbers.high
        and (numbers.step is None or _is_reached(numbers.low, value, numbers.step))
    )


@dataclass(frozen=True)
class Entry:
    """A key, what it may be, and when it is set.

    Parameters
    ----------
    when
        Key -> values: the entry is left out where a key above it has another value.
    """

    key: str
    range: Range
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def applies(self, values: Values) -> bool:
        """Whether it is set beside these values."""
        return all(key in values and values[key] in wanted for key, wanted in self.when.items())


@dataclass(frozen=True)
class Space:
    """The entries in their order; `file` is where they stand."""

    file: str
    entries: tuple[Entry, ...]

    def suggest(self, trial: "Trial", begin: Callable[[str], None] = lambda _: None) -> Values:
        """The values of a trial; `begin` is told each key before its value is drawn."""
        values: Values = {}
        for entry in self.entries:
            if entry.applies(values):
                begin(entry.key)
                values[entry.key] = entry.range.suggest(trial, entry.key)
        return values

    def examples(self) -> Iterator[Values]:
        """Values in which every end and choice stands once, for a check before the search."""
        for number, varied in enumerate(self.entries):
            for example in varied.range.examples():
                values = self._with(number, example)
                if values is not None:
                    yield values

    def _with(self, number: int, example: Any) -> Values | None:
        """First examples of all, but for one entry; None where that cannot be reached so."""
        wanted = {key: allowed[0] for key, allowed in self.entries[number].when.items()}
        values: Values = {}
        for i, entry in enumerate(self.entries):
            if entry.applies(values):
                first = wanted.get(entry.key, entry.range.examples()[0])
                values[entry.key] = example if i == number else first
        return values if self.entries[number].key in values else None

    def to_plain(self) -> list[dict[str, Any]]:
        """What makes one space equal to another."""
        return [
            {"key": e.key, **vars(e.range), **({"when": dict(e.when)} if e.when else {})}
            for e in self.entries
        ]


def read_space(path: Path) -> Space:
    """The space in a YAML file.

    Each key is one that `--set` takes, or `score`; its value is a list of choices, or a mapping:
    `{low: 1.0e-5, high: 1.0e-2, log: true}`, `{low: 4, high: 16, step: 4}`,
    `{choices: [a, b], when: {other.key: value}}`. Numbers without a point are whole ones.

    Raises
    ------
    UserError
        The file cannot be read, or an entry cannot be; names file, line and key.
    """
    root = Node.read_file(path, "check --space")
    if not root.is_mapping():
        raise root.error("expected lines such as 'training.epochs: {low: 4, high: 16}'")
    entries: list[Entry] = []
    for key, node in root.items().items():
        entries.append(_read_entry(key, node, {entry.key: entry for entry in entries}))
    if not entries:
        raise root.error("names no key to vary; add one")
    return Space(str(path), tuple(entries))


def set_texts(values: Values) -> list[str]:
    """The values as `--set` takes them; the score is no parameter of a system."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items() if key != SCORE]


def _read_entry(key: str, node: Node, above: Mapping[str, Entry]) -> Entry:
    entry = _read_any(key, node, above)
    if key == SCORE and not all(isinstance(name, str) for name in entry.range.examples()):
        raise node.error("expected names of scores to choose from, such as [KNN, GMM]")
    return entry


def _read_any(key: str, node: Node, above: Mapping[str, Entry]) -> Entry:
    if not node.is_mapping():
        return Entry(key, _choices([each.plain() for each in node.elements()], node))
    entries = node.items(("low", "high", "step", "log", "choices", "when"))
    when = _read_when(entries.pop("when"), above) if "when" in entries else {}
    if "choices" in entries:
        for other in entries:
            if other != "choices":
                raise entries[other].error("does not go with choices; remove one of them")
        choices = entries["choices"]
        return Entry(key, _choices([each.plain() for each in choices.elements()], choices), when)
    for end in ("low", "high"):
        if end not in entries:
            raise node.error(f"key {end!r} is missing; give low and high, or a list of choices")
    return Entry(key, _numbers(entries, node), when)


def _read_when(node: Node, above: Mapping[str, Entry]) -> dict[str, tuple[Any, ...]]:
    found = {}
    for key, value in node.items().items():
        if key not in above:
            raise value.error(f"{key} does not stand above this key; put it there")
        plain = value.plain()
        found[key] = tuple(plain) if isinstance(plain, list) else (plain,)
        for wanted in found[key]:
            if not above[key].range.holds(wanted):
                raise value.error(
                    f"{key} is never {_text(wanted)}; give values of it, in a list where each is "
                    "a list itself"
                )
    return found


def _choices(values: list[Any], node: Node) -> Choices:
    if len({_text(value) for value in values}) < max(len(values), 1):
        raise node.error("expected different values to choose from")
    return Choices(tuple(values))


def _numbers(entries: Mapping[str, Node], node: Node) -> Range:
    given = {key: entry.plain() for key, entry in entries.items()}
    for key, value in given.items():
        if key != "log" and not _is_number(value):
            raise entries[key].error(f"expected a number, got {value!r}")
    log = given.pop("log", False)
    if not isinstance(log, bool):
        raise entries["log"].error(f"expected true or false, got {log!r}")
    low, high, step = given["low"], given["high"], given.get("step")
    if low > high:
        raise node.error(f"low is {low} and high {high}; exchange them")
    if step is not None and step <= 0:
        raise entries["step"].error(f"expected a number above 0, got {step}")
    if log and low <= 0:
        raise node.error(f"with log: true low must be above 0, got {low}")
    if log and step is not None:
        raise entries["step"].error("does not go with log: true; remove one of them")
    if step is not None and not _is_reached(low, high, step):
        raise entries["step"].error(f"steps of {step} from {low} do not reach high, {high}")
    if all(isinstance(value, int) for value in given.values()):
        return WholeNumbers(low, high, step or 1, log)
    return Numbers(float(low), float(high), None if step is None else float(step), log)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_reached(low: float, value: float, step: float) -> bool:
    """Whether steps from `low` reach a value, as decimal numbers."""
    return (Decimal(str(value)) - Decimal(str(low))) % Decimal(str(step)) == 0


def _text(value: Any) -> str:
    """How a choice is kept: texts as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def check_space(space: Space, possible: Any) -> None:
    """Call `possible(values)` for every end and choice; what it refuses is told with the file.

    Raises
    ------
    UserError
        A key is unknown, or a value cannot be.
    """
    for values in space.examples():
        try:
            possible(values)
        except UserError as error:
            raise UserError(f"{space.file}: {error}") from None
