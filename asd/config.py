"""From baseline.yaml and flags to one frozen, checked Config; nothing else reads parameters."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from asd.challenge.catalog import Challenge, load_challenge, split_dataset_name
from asd.errors import UserError
from asd.extensions import absolute_reference, is_reference
from asd.run_parameters import RunParameters
from asd.schema.node import Node
from asd.schema.parameters import Parameter, parameters_of, plain, with_values
from asd.systems.registry import SystemEntry, all_parameters, find_system
from asd.words import nearest_flag

DEFAULT_FILE = "baseline.yaml"

P = TypeVar("P")
Values = dict[str, Any]
"""Parameter name -> value."""


@dataclass(frozen=True)
class Config(RunParameters):
    """All parameters of a run.

    Parameters
    ----------
    split
        The data set they are for: "dev" or "eval".
    system
        The parameters of the system, an instance of its `Parameters`.
    given
        Keys of the system's parameters that flags named.
    """

    split: str = "dev"
    system: Any = None
    given: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def entry(self) -> SystemEntry:
        """What the registry knows of the system."""
        return find_system(self.model)

    @property
    def challenge(self) -> Challenge:
        """The challenge year."""
        return load_challenge(self.dataset)

    @property
    def machines(self) -> tuple[str, ...]:
        """The machine types to work on, in the official order.

        Raises
        ------
        UserError
            A machine type is not of this year and data set.
        """
        with _about("--machine_types"):
            return self.challenge.check_machines(self.split, list(self.machine_types))

    @property
    def score_name(self) -> str:
        """The score to test with: "MAHALA" in its frame form is "MAHALA-FRAME"."""
        is_frame_form = (
            self.score == "MAHALA" and getattr(self.system, "mahalanobis", "") == "frame"
        )
        return "MAHALA-FRAME" if is_frame_form else self.score

    def plain_run(self) -> Values:
        """The parameters that are not the system's, as plain values by name."""
        return {each.name: plain(getattr(self, each.name)) for each in fields(RunParameters)}

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process may not have loaded the file that the system's parameters are of.
        own = {each.name: getattr(self, each.name) for each in fields(RunParameters)}
        return _restored, (own, self.split, plain(self.system), self.given)


def _restored(own: Values, split: str, system: Any, given: frozenset[str]) -> Config:
    cls = find_system(own["model"]).parameters_class()
    parameters = Node.of_plain(system, own["model"]).read(cls)
    return Config(**own, split=split, system=parameters, given=given)


def load_config(
    file: Path | None,
    flags: Mapping[str, Any],
    split: str = "dev",
    set_values: Iterable[str] = (),
    *,
    use_default_file: bool = True,
) -> Config:
    """Read the parameters of a run.

    A system that a flag names brings its own parameters along, in place of the file's.

    Parameters
    ----------
    file
        A YAML file; None takes baseline.yaml in the current folder if there is one.
    flags
        Parameter name -> text (or list of texts) of the flags that were given; they win over the
        file. Relative paths, a recipe's too, are meant from the current folder here, in the file
        from the file's.
    split
        "dev" or "eval".
    set_values
        "key=value" texts of the flag `--set`.
    use_default_file
        Whether baseline.yaml in the current folder stands in for `file`.

    Raises
    ------
    UserError
        The file can't be read, a key is unknown or given twice, a value is bad, or values don't
        fit each other. Names file, line and key, and what was expected.
    """
    if file is None and use_default_file:
        file = _default_file()
    in_file = _read_file(file) if file else {}
    given = {name: _placed(Path(), name, value) for name, value in flags.items()}
    in_file_model = in_file.get("model", RunParameters.model)
    model = _read_flag(_run_parameters()["model"], given.get("model", in_file_model))
    entry = find_system(model)
    if model != in_file_model:
        in_file = _without_own(in_file, find_system(in_file_model), entry)
    run = _run_values(entry, in_file, given)
    set_texts = tuple(set_values)
    system, changed = _system_values(entry, in_file, given, set_texts)
    config = Config(**{**run, "model": model}, split=split, system=system, given=changed)
    config = _split_dataset(config)
    _check_together(config)
    return config


def file_model(file: Path | None) -> str:
    """The model that a YAML file names, or the default; for help, so nothing else is checked."""
    try:
        file = file or _default_file()
        in_file = _read_file(file) if file else {}
    except UserError:
        return RunParameters.model
    return str(in_file.get("model", RunParameters.model))


def _default_file() -> Path | None:
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None


@cache
def _run_parameters() -> dict[str, Parameter]:
    return {each.name: each for each in parameters_of(RunParameters)}


def _run_values(entry: SystemEntry, in_file: Values, given: Mapping[str, Any]) -> Values:
    """The values of the parameters that all systems share."""
    known = _run_parameters()
    brought = {"export_dir": entry.export_dir or entry.name, "score": entry.score}
    return {
        **brought,
        **{name: value for name, value in in_file.items() if name in known},
        **{name: _read_flag(known[name], value) for name, value in given.items() if name in known},
    }


def _system_values(
    entry: SystemEntry, in_file: Values, given: Mapping[str, Any], set_values: tuple[str, ...]
) -> tuple[Any, frozenset[str]]:
    """The system's parameters, and the keys of those that flags named."""
    known = {each.name: each for each in parameters_of(entry.parameters_class())}
    _refuse_strangers(given, known, entry)
    set_keys = {text.partition("=")[0].strip() for text in set_values}
    changes: dict[tuple[str, ...], Any] = {}
    for name, each in known.items():
        is_set = any(each.key == key or each.key.startswith(f"{key}.") for key in set_keys)
        if name in given:
            changes[each.path] = _read_flag(each, given[name])
        elif name in in_file and not is_set:
            changes[each.path] = _read_value(each, in_file[name])
    named = {known[name].key for name in given if name in known}
    return with_values(entry.defaults(set_values), changes), frozenset(named | set_keys)


def _refuse_strangers(
    given: Mapping[str, Any], own: Mapping[str, Parameter], entry: SystemEntry
) -> None:
    """Refuse a flag that neither all systems nor this one has."""
    for name in given:
        if name not in own and name not in _run_parameters():
            raise UserError(f"--{name}: {entry.name} has no such parameter; leave it out")


def _without_own(in_file: Values, before: SystemEntry, now: SystemEntry) -> Values:
    """A file's values less those that another system brings values of its own for."""
    if now.recipe is not None:
        own = {each.name for each in parameters_of(now.parameters_class())}
    else:
        own = _differing_defaults(before, now)
    return {
        key: value for key, value in in_file.items() if key not in {*own, "score", "export_dir"}
    }


def _differing_defaults(before: SystemEntry, now: SystemEntry) -> set[str]:
    defaults = {each.name: each.default for each in parameters_of(before.parameters_class())}
    return {
        each.name
        for each in parameters_of(now.parameters_class())
        if each.default != defaults.get(each.name, each.default)
    }


def _read_file(file: Path) -> Values:
    """Parameter name -> value, of a YAML file with one key per line.

    Values of the parameters that all systems share are of their types; a system's are nodes, to be
    read when it is known which system.
    """
    root = Node.read_file(file, "check --config")
    if root.node is None:
        return {}
    values: Values = {}
    try:
        pairs = root.pairs()
    except UserError as error:
        if "stands twice" in str(error):
            raise
        raise root.error("expected lines such as '--epochs: 100'") from None
    spellings = {**_own_spellings(file.parent, pairs), **_spellings()}
    for key, value in pairs:
        text = str(key.scalar())
        each = spellings.get(text.lstrip("-"))
        if each is None:
            raise key.error(f"unknown key{_flag_hint(text)}")
        if each.name in values:
            raise key.error("stands twice, in two spellings; remove one of the lines")
        node = value
        is_shared = each.name in _run_parameters()
        values[each.name] = (
            _placed(file.parent, each.name, node.read(each.kind)) if is_shared else node
        )
    return values


def _spellings() -> dict[str, Parameter]:
    """The parameters of all systems by every spelling, without dashes."""
    run = {flag.lstrip("-"): each for each in _run_parameters().values() for flag in each.flags}
    return {**all_parameters(), **run}


def _own_spellings(folder: Path, pairs: Iterable[tuple[Node, Node]]) -> dict[str, Parameter]:
    """The parameters of the system that a file names, where it is none of the package's."""
    for key, value in pairs:
        if str(key.scalar()).lstrip("-") == "model" and is_reference(str(value.scalar())):
            entry = find_system(_placed(folder, "model", str(value.scalar())))
            own = parameters_of(entry.parameters_class())
            return {flag.lstrip("-"): each for each in own for flag in each.flags}
    return {}


def _flag_hint(text: str) -> str:
    flags = [flag for each in _spellings().values() for flag in each.flags]
    return nearest_flag(text, flags) or "; see asd train --help"


def _read_flag(each: Parameter, value: Any) -> Any:
    try:
        return each.convert(value)
    except ValueError as error:
        shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        raise UserError(f"{each.flag}: expected {error}, got {shown!r}") from None


def _read_value(each: Parameter, value: Any) -> Any:
    return value.read(each.kind) if isinstance(value, Node) else value


def _placed(folder: Path, name: str, value: Any) -> Any:
    """A value whose relative path is meant from `folder`.

    A recipe's, or that of a file with a class, becomes absolute: models store it, and workers in
    other folders are told it.
    """
    if isinstance(value, Path):
        return folder / value
    if name == "model" and isinstance(value, str):
        if value.endswith((".yaml", ".yml")):
            return str((folder / Path(value).expanduser()).absolute())
        if is_reference(value):
            return absolute_reference(value, folder)
    return value


def _split_dataset(config: Config) -> Config:
    """Take the official "DCASE2023T2ToyCar" apart into year and machine type."""
    year, machine = split_dataset_name(config.dataset)
    with _about("--dataset"):
        challenge = load_challenge(year)
        if machine and machine not in {*challenge.dev.sections, *challenge.eval.sections}:
            challenge.check_machines(config.split, [machine])
    if not machine:
        return config
    if config.machine_types not in ((), (machine,)):
        raise UserError(
            f"--dataset {config.dataset}: names {machine}, --machine_types "
            f"{' '.join(config.machine_types)}; give the one or the other"
        )
    return replace(config, dataset=year, machine_types=(machine,))


@contextmanager
def _about(flag: str) -> Iterator[None]:
    """Say in an error which flag it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None


def _check_together(config: Config) -> None:
    if config.train_only and config.test_only:
        raise UserError("--train_only and --test_only exclude each other; give one of them")
    if config.checkpoint_path is not None and not config.restart:
        raise UserError("--checkpoint_path: only --restart reads it; give both or neither")
