"""What all commands share: the parser, and flags made from the parameters."""

import argparse
import textwrap
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from asd.challenge.catalog import challenge_names, load_challenge
from asd.config import Config, load_config
from asd.errors import UserError
from asd.run_parameters import RunParameters
from asd.schema.parameters import Parameter, parameters_of
from asd.systems.registry import SYSTEMS, owners_of, recipe_names
from asd.words import nearest_flag

_DEST = "parameter "
"""What the names of parameters begin with in argparse's namespace: a command may have others."""


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Breaks no name such as MAHALA-FRAME at its hyphen."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and know the nearest flag."""

    before_parsing: Callable[[Sequence[str]], None] | None = None
    """Called once with the words of the command: flags may depend on what some of them say."""

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
        if self.before_parsing is not None:
            self.before_parsing(list(args))
            self.before_parsing = None
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
        flag = word.partition("=")[0]
        if "--model" in flags and (owners := owners_of(flag)):
            if not any(owners_of(known) for known in flags):
                return "; leave it out, the trained model knows its own"
            return f"; only {', '.join(owners)} have it (--model)"
        return nearest_flag(flag, flags)


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
                         "training.epochs=8 or losses[0].subclusters=4 of a recipe; may be "
                         "given several times")  # fmt: skip


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
