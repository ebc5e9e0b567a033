"""Models and checkpoints on disk: tensors and plain values, written whole, never unpickled."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asd.archives import load_archive, save_archive
from asd.config import Config
from asd.errors import UserError
from asd.parameters import FEATURE_PARAMETERS, parameter_fields
from asd.systems import system_class
from asd.systems.base import State

_FORMAT = 1
_CHECKPOINT_FORMAT = 2

Thresholds = dict[str, dict[str, dict[str, list[float]]]]
"""Machine type -> kind of samples -> score -> shape, location and scale of the fitted gamma."""


@dataclass(frozen=True)
class StoredModel:
    """A trained system, as kept on disk.

    Parameters
    ----------
    system
        Name of the system.
    parameters
        All parameters of the training by name, with "sample_rate_hz".
    state
        What the system learned.
    thresholds
        Distributions that decision thresholds are quantiles of.
    """

    system: str
    parameters: dict[str, Any]
    state: State
    thresholds: Thresholds


def plain_parameters(config: Config) -> dict[str, Any]:
    """The parameters as plain values by name."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(config).items()
    }


def save_model(path: Path, model: StoredModel) -> None:
    """Write a model, whole or not at all."""
    save_archive(path, {"format": _FORMAT, **vars(model)})


def load_model(path: Path, train_hint: str) -> StoredModel:
    """Read a model.

    Raises
    ------
    UserError
        There is none (the message ends in `train_hint`), or the file is damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such model; {train_hint}")
    content = load_archive(path, "train the model again")
    if content.pop("format", None) != _FORMAT:
        raise UserError(f"{path}: is of another version of this program; train the model again")
    return StoredModel(**content)


def save_checkpoint(path: Path, parameters: Mapping[str, Any], snapshot: State) -> None:
    """Write a checkpoint, whole or not at all."""
    content = {"parameters": dict(parameters), "snapshot": snapshot}
    save_archive(path, {"format": _CHECKPOINT_FORMAT, **content})


def load_checkpoint(path: Path, parameters: Mapping[str, Any]) -> State:
    """Read a checkpoint of a training with the same parameters.

    Raises
    ------
    UserError
        There is none, it is damaged or of another version, or `parameters` differ from those it
        was made with.
    """
    if not path.is_file():
        raise UserError(f"{path}: no checkpoint to go on from; train without --restart")
    content = load_archive(path, "train without --restart")
    if not content.keys() >= {"parameters", "snapshot"}:
        raise UserError(f"{path}: is no checkpoint of this program; give a checkpoint.pt")
    if content.get("format") != _CHECKPOINT_FORMAT:
        raise UserError(f"{path}: is of another version of this program; train without --restart")
    check_same(path, content["parameters"], parameters, list(parameters), "train without --restart")
    snapshot: State = content["snapshot"]
    return snapshot


def check_parameters(path: Path, model: StoredModel, config: Config, sample_rate_hz: int) -> None:
    """Refuse to score with other features, or in another way, than at training.

    Raises
    ------
    UserError
        Names the parameters that differ.
    """
    now = {**plain_parameters(config), "sample_rate_hz": sample_rate_hz}
    scoring = system_class(config.model).scoring_parameters
    names = [*FEATURE_PARAMETERS, *scoring, "sample_rate_hz"]
    check_same(path, model.parameters, now, names, "give the same or train again")


def check_same(
    path: Path, then: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str], hint: str
) -> None:
    """Raise a UserError that names those of `names` whose values differ."""
    flags = {parameter.name for parameter in parameter_fields()}
    differ = [
        f"{'--' if name in flags else ''}{name} {_text(then[name])} (now {_text(now[name])})"
        for name in names
        if name in then and then[name] != now[name]
    ]
    if differ:
        raise UserError(f"{path}: was trained with {', '.join(differ)}; {hint}")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return "null" if value is None else str(value)
