"""What all commands share: the parser, and flags made from the parameters."""

import argparse
import textwrap
from collections.abc import Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any, NoReturn

from asd.challenge.catalog import challenge_names, load_challenge
from asd.config import Config, load_config
from asd.errors import UserError
from asd.parameters import SWITCHES, flags_of, parameter_fields, placeholder_of
from asd.words import nearest_flag


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Breaks no name such as MAHALA-FRAME at its hyphen."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and know the nearest flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_HelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            name = action.metavar or "/".join(action.option_strings) or action.dest
            raise UserError(
                f"{name}: unknown {value!r}{nearest_flag(str(value), action.choices)}; "
                f"choose from {', '.join(map(str, action.choices))}"
            )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            raise UserError(
                f"unknown argument {unknown[0]!r}{self._hint(unknown[0])}; see {self.prog} --help"
            )
        return known, unknown

    def _hint(self, word: str) -> str:
        flags = [flag for action in self._actions for flag in action.option_strings]
        if "--machine_types" in flags and is_machine_type(word):
            return "; machine types are given with --machine_types"
        return nearest_flag(word.partition("=")[0], flags)


def is_machine_type(word: str) -> bool:
    """Whether any challenge year has a machine type of this name."""
    years = map(load_challenge, challenge_names())
    return any(word in {**year.dev.sections, **year.eval.sections} for year in years)


def add_command(commands: Any, name: str, run: Any, summary: str, text: str = "") -> Any:
    """Add a command that calls `run(args)`; `summary` is its line in the list of commands."""
    description = textwrap.fill(summary[0].upper() + summary[1:] + ".", 95)
    if text:
        description += "\n\n" + textwrap.dedent(text).strip()
    command = commands.add_parser(name, help=summary, description=description)
    command.set_defaults(command=run)
    return command


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
    """Add the flags of some parameters."""
    for parameter in parameter_fields():
        if parameter.name in names:
            add_parameter(command, parameter)


def add_config(command: Any) -> None:
    """Add --config."""
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file of parameters")


def add_parameter(
    group: Any, parameter: Field[Any], defaults: Mapping[str, Any] | None = None
) -> None:
    """Add the flags of a parameter, with its meaning and default as help.

    `defaults`, by name, are told in place of its own where the command has others.
    """
    default = (defaults or {}).get(parameter.name, parameter.default)
    meaning = f"{parameter.metadata['meaning']}{_default_text(parameter, default)}"
    options: dict[str, Any] = {
        "dest": parameter.name,
        "default": argparse.SUPPRESS,
        "help": meaning.replace("%", "%%"),
    }
    if parameter.name in SWITCHES:
        options["action"] = "store_true"
    else:
        options["metavar"] = placeholder_of(parameter)
    if isinstance(parameter.default, tuple):
        options["nargs"] = "*"
    elif options.get("metavar") == "BOOL":
        options |= {"nargs": "?", "const": "True"}
    group.add_argument(*reversed(flags_of(parameter)), **options)  # official spelling first


def _default_text(parameter: Field[Any], default: Any) -> str:
    said = "(default" in parameter.metadata["meaning"] or parameter.name in SWITCHES
    if said or default in (None, "", ()):
        return ""
    text = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f" (default: {text})"


def read_config(args: argparse.Namespace) -> Config:
    """The Config that the flags and the file they name make."""
    names = {parameter.name for parameter in parameter_fields()}
    flags = {name: value for name, value in vars(args).items() if name in names}
    return load_config(args.config, flags, args.split)
