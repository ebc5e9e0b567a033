"""Flags made from the parameters, and what commands read of them."""

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

from asd.config import Config, load_config
from asd.run_parameters import RunParameters
from asd.schema.parameters import Parameter, parameters_of
from asd.systems.registry import SYSTEMS, recipe_names

_DEST = "parameter "
"""What the names of parameters begin with in argparse's namespace: a command may have others."""


def add_split(command: Any, required: bool = True) -> None:
    """Add -d and -e, of which one, and not both, is given."""
    split = command.add_mutually_exclusive_group(required=required)
    split.add_argument(
        *("-d", "--dev"), dest="split", action="store_const", const="dev",
        help="the development data set",
    )  # fmt: skip
    split.add_argument(
        *("-e", "--eval"), dest="split", action="store_const", const="eval",
        help="the additional training and evaluation data set",
    )  # fmt: skip


def add_parameters(command: Any, *names: str) -> None:
    """Add the flags of some of the parameters that all systems share."""
    for each in parameters_of(RunParameters):
        if each.name in names:
            add_parameter(command, each)


def add_config(command: Any) -> None:
    """Add --config."""
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file of parameters")


def add_page(command: Any) -> None:
    """Add --page."""
    command.add_argument("--page", type=Path, metavar="FILE.html",
                         help="also write a page to look at and listen to the clips, the most "
                         "anomalous first: one file for any browser")  # fmt: skip


def add_parameter(group: Any, each: Parameter, default: Any = None) -> None:
    """Add the flags of a parameter, with its meaning and default as help.

    `default` is told in place of its own where the command has another.
    """
    unit = f" in {each.unit}" if each.unit else ""
    said = "(default" in each.help or each.is_switch
    shown = "" if said else _default_text(each.default if default is None else default)
    options: dict[str, Any] = {
        "dest": _DEST + each.name,
        "default": argparse.SUPPRESS,
        "help": f"{help_of(each)}{unit}{shown}".replace("%", "%%"),
    }
    if each.is_switch:
        options["action"] = "store_true"
    else:
        options["metavar"] = each.placeholder
    if each.takes_several:
        options["nargs"] = "*"
    elif options.get("metavar") == "BOOL":
        options |= {"nargs": "?", "const": "True"}
    group.add_argument(*reversed(each.flags), **options)  # the usual spelling first


def help_of(each: Parameter) -> str:
    """What help says of a parameter; of the model, also which names there are."""
    if each.name != "model":
        return each.help
    return f"{each.help}; names: {', '.join((*SYSTEMS, *recipe_names()))}"


def _default_text(default: Any) -> str:
    if default in (None, "", ()):
        return ""
    text = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f" (default: {text})"


def add_set(command: Any) -> None:
    """Add --set."""
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         dest="set_values",
                         help="set any parameter of the system, such as "
                         "training.epochs=8 or losses[0].subclusters=4 of a recipe, where a "
                         "changed class begins with its defaults; may be given several times, in "
                         "any order")  # fmt: skip


def given_parameters(args: argparse.Namespace) -> dict[str, Any]:
    """Parameter name -> text, or list of texts, of the flags that were given."""
    found = vars(args).items()
    return {key.removeprefix(_DEST): value for key, value in found if key.startswith(_DEST)}


def read_config(args: argparse.Namespace, **changes: Any) -> Config:
    """The Config that the flags and the file they name make; `changes` win over flags."""
    flags = given_parameters(args) | changes
    return load_config(args.config, flags, args.split, getattr(args, "set_values", ()))


def without_parameters(args: argparse.Namespace, names: Collection[str]) -> argparse.Namespace:
    """The arguments without the flags of some parameters."""
    left_out = {_DEST + name for name in names}
    return argparse.Namespace(**{k: v for k, v in vars(args).items() if k not in left_out})
