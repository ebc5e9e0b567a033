"""What there is to say about a parameter, said once: in the fields of a frozen dataclass.

    @dataclass(frozen=True)
    class Parameters:
        n_mels: Count = parameter(128, "number of mel bands", role="features")

Reading YAML, flags and their help, what a checkpoint must match, the command that trains a missing
model and what is stored with a model all come from these fields.
"""

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from asd.schema.convert import base_of, choices_of, convert

Role = Literal["data", "features", "training", "scoring", "run"]
"""What a parameter acts on: where data and results are; what a system is given; what it learns;
what is made of scores afterwards; how the work is done. A trained model holds the values of
features and training; all others may differ from call to call."""

FIXED_ROLES = ("features", "training")

_KEY = "asd parameter"
_PLACEHOLDERS = {int: "INT", float: "FLOAT", bool: "BOOL", str: "NAME", Path: "FOLDER"}

P = TypeVar("P")


def parameter(
    default: Any,
    help: str,  # noqa: A002 - the word for it on every command line
    *,
    role: Role,
    unit: str = "",
    flags: tuple[str, ...] = (),
    placeholder: str = "",
    switch: bool = False,
    resumable: bool = False,
) -> Any:
    """A field of a dataclass of parameters.

    Parameters
    ----------
    default
        Value where none is given.
    help
        What it means, as `--help` shows it.
    role
        What it acts on.
    unit
        Unit of its value, "Hz".
    flags
        Spellings on the command line beside `--<name>`, the official ones first.
    placeholder
        What stands for a value in help, where the type does not say it.
    switch
        Whether the flag takes no value.
    resumable
        Of a training: whether one that is resumed may have another value than before.
    """
    metadata = {
        "help": help,
        "role": role,
        "unit": unit,
        "flags": flags,
        "placeholder": placeholder,
        "switch": switch,
        "resumable": resumable,
    }
    return field(default=default, metadata={_KEY: metadata})


@dataclass(frozen=True)
class Parameter:
    """The description of one parameter.

    Parameters
    ----------
    path
        Names of the fields that lead to it: ("n_mels",), or ("training", "epochs").
    kind
        Its type, with its range.
    """

    path: tuple[str, ...]
    kind: Any
    default: Any
    help: str
    role: Role
    unit: str = ""
    flags: tuple[str, ...] = ()
    own_placeholder: str = ""
    is_switch: bool = False
    is_resumable: bool = False

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.path[-1]

    @property
    def key(self) -> str:
        """The path as a text, "training.epochs"."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """The flag that messages name."""
        return f"--{self.name}"

    @property
    def is_fixed(self) -> bool:
        """Whether a trained model holds its value."""
        return self.role in FIXED_ROLES

    @property
    def takes_several(self) -> bool:
        """Whether its value is a tuple."""
        kind = get_args(self.kind)[0] if get_origin(self.kind) is Annotated else self.kind
        return get_origin(kind) is tuple

    @property
    def placeholder(self) -> str:
        """What stands for a value in help: "{a,b}" where only some will do, else its type."""
        if choices := choices_of(self.kind):
            return f"{{{','.join(map(str, choices))}}}"
        return self.own_placeholder or _PLACEHOLDERS[base_of(self.kind)]

    def convert(self, value: Any) -> Any:
        """A text or value as the parameter's type.

        Raises
        ------
        ValueError
            With what was expected.
        """
        return convert(self.kind, value)


def parameters_of(cls: type) -> tuple[Parameter, ...]:
    """The parameters of a dataclass in order, those of dataclasses within it too."""
    return _parameters_of(cls)


@lru_cache
def _parameters_of(cls: Any) -> tuple[Parameter, ...]:
    return tuple(_described(cls, ()))


def _described(cls: type, path: tuple[str, ...]) -> Iterator[Parameter]:
    hints = get_type_hints(cls, include_extras=True)
    for each in fields(cls):
        kind = hints[each.name]
        if _KEY in each.metadata:
            yield _parameter(each, kind, (*path, each.name))
        elif isinstance(kind, type) and is_dataclass(kind):
            yield from _described(kind, (*path, each.name))


def _parameter(each: Field[Any], kind: Any, path: tuple[str, ...]) -> Parameter:
    said = each.metadata[_KEY]
    name = f"--{each.name}"
    return Parameter(
        path,
        kind,
        each.default,
        said["help"],
        said["role"],
        said["unit"],
        (*(flag for flag in said["flags"] if flag != name), name),
        said["placeholder"],
        said["switch"],
        said["resumable"],
    )


def value_of(values: Any, path: tuple[str, ...]) -> Any:
    """The value of a parameter in an instance of its dataclass."""
    for name in path:
        values = getattr(values, name)
    return values


def with_values(values: P, changes: Mapping[tuple[str, ...], Any]) -> P:
    """An instance with other values, by their paths; they are of their types already."""
    here: dict[str, Any] = {}
    below: dict[str, dict[tuple[str, ...], Any]] = {}
    for (name, *rest), value in changes.items():
        if rest:
            below.setdefault(name, {})[tuple(rest)] = value
        else:
            here[name] = value
    for name, inner in below.items():
        here[name] = with_values(getattr(values, name), inner)
    return replace(values, **here)  # type: ignore[type-var]


def plain(value: Any) -> Any:
    """A value as JSON and YAML hold it: dataclasses as dicts, tuples as lists, paths as texts.

    A dataclass whose form in YAML is another says so in a method `to_plain`.
    """
    if hasattr(value, "to_plain"):
        return plain(value.to_plain())
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Plain values by dotted keys: {"training.epochs": 16, "losses[0].class": "AdaCos"}."""
    if isinstance(value, Mapping) and value:
        parts = {f"{key}.{name}" if key else str(name): item for name, item in value.items()}
    elif isinstance(value, (list, tuple)) and any(isinstance(i, (Mapping, list)) for i in value):
        parts = {f"{key}[{number}]": item for number, item in enumerate(value)}
    else:
        return {key: value}
    return {name: found for part, item in parts.items() for name, found in flat(item, part).items()}
