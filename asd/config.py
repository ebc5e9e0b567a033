"""From baseline.yaml and flags to one frozen, checked Config; nothing else reads parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from asd.challenge.catalog import Challenge, load_challenge, split_dataset_name
from asd.errors import UserError
from asd.parameters import Parameters, convert, flags_of, parameter_fields
from asd.systems import own_parameters
from asd.words import nearest_flag

DEFAULT_FILE = "baseline.yaml"


@dataclass(frozen=True)
class Config(Parameters):
    """All parameters of a run, and the data set they are for ("dev" or "eval")."""

    split: str = "dev"

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
        is_frame_form = self.score == "MAHALA" and self.mahalanobis == "frame"
        return "MAHALA-FRAME" if is_frame_form else self.score


def load_config(file: Path | None, flags: Mapping[str, Any], split: str = "dev") -> Config:
    """Read the parameters of a run.

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

    A system that a flag names brings its own parameters along, in place of the file's.

    Raises
    ------
    UserError
        The file can't be read, a key is unknown or given twice, a value is bad, or values don't
        fit each other. Names file, line and key, and what was expected.
    """
    if file is None and Path(DEFAULT_FILE).is_file():
        file = Path(DEFAULT_FILE)
    values = _read_file(file) if file else {}
    by_name = {parameter.name: parameter for parameter in parameter_fields()}
    given = {
        name: _placed(Path(), name, _converted(by_name[name], value, flags_of(by_name[name])[-1]))
        for name, value in flags.items()
    }
    if given.get("model", values.get("model")) != values.get("model"):
        values |= own_parameters(given["model"])
    config = Config(**{**values, **given}, split=split)
    config = _split_dataset(config)
    _check_together(config)
    return config


def _read_file(file: Path) -> dict[str, Any]:
    """Parameter name -> value, of a YAML file with one key per line."""
    root = _parse_yaml(file)
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise UserError(
            f"{file}:{root.start_mark.line + 1}: expected lines such as '--epochs: 100'"
        )
    values: dict[str, Any] = {}
    known = {flag.lstrip("-"): p for p in parameter_fields() for flag in flags_of(p)}
    for key_node, value_node in root.value:
        where = f"{file}:{key_node.start_mark.line + 1}: "
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(f"{where}expected lines such as '--epochs: 100'")
        key = str(key_node.value)
        parameter = known.get(key.lstrip("-"))
        if parameter is None:
            hint = nearest_flag(key, [flag for p in parameter_fields() for flag in flags_of(p)])
            raise UserError(f"{where}unknown key {key!r}{hint or '; see asd train --help'}")
        if parameter.name in values:
            raise UserError(f"{where}{key} is given twice; remove one of the lines")
        value = _converted(parameter, _plain(value_node, f"{where}{key}"), f"{where}{key}")
        values[parameter.name] = _placed(file.parent, parameter.name, value)
    return values


def _parse_yaml(file: Path) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(file.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"{file}: cannot be read ({reason}); check --config") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "syntax error"
        raise UserError(f"{file}{line}: not valid YAML ({problem})") from None
    return node


def _plain(node: yaml.Node, where: str) -> Any:
    """The value of a node as text, a list of texts, or None: as a flag would give it.

    YAML's own guesses (007 is 7, 2023-01-01 a date, 1e-3 a text) are left out of it.
    """
    if isinstance(node, yaml.SequenceNode):
        return [_plain_scalar(item, where) for item in node.value]
    return _plain_scalar(node, where)


def _plain_scalar(node: yaml.Node, where: str) -> str | None:
    if not isinstance(node, yaml.ScalarNode):
        raise UserError(f"{where}: expected one value or a list of values, got {{...}} or [[...]]")
    return None if node.tag == "tag:yaml.org,2002:null" else str(node.value)


def _converted(parameter: Field[Any], value: Any, where: str) -> Any:
    try:
        return convert(parameter, value)
    except ValueError as error:
        given = value if not isinstance(value, (list, tuple)) else " ".join(map(str, value))
        raise UserError(f"{where}: expected {error}, got {given!r}") from None


def _placed(folder: Path, name: str, value: Any) -> Any:
    """A value whose relative path is meant from `folder`.

    A recipe's becomes absolute: models store it, and workers in other folders are told it.
    """
    if isinstance(value, Path):
        return folder / value
    if name == "model" and value.endswith((".yaml", ".yml")):
        return str((folder / Path(value).expanduser()).absolute())
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
    if config.win_length is not None and config.win_length > config.n_fft:
        raise UserError(
            f"--win_length: expected at most --n_fft ({config.n_fft}), got {config.win_length}"
        )
    if config.fmax is not None and config.fmax <= config.fmin:
        raise UserError(
            f"--fmax: expected more than --fmin ({config.fmin:g} Hz), got {config.fmax:g}"
        )
    if config.train_only and config.test_only:
        raise UserError("--train_only and --test_only exclude each other; give one of them")
    if config.checkpoint_path is not None and not config.restart:
        raise UserError("--checkpoint_path: only --restart reads it; give both or neither")
