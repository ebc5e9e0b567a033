"""The parser of the command line, and how commands are added to it."""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from asd.cli.commands import COMMANDS
from asd.errors import UserError
from asd.words import nearest_flag


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
        # Before argparse complains of what is missing: a mistyped --version needs no command.
        if args and self._is_unknown_flag(args[0]):
            raise self._unknown(args[0])
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            raise self._unknown(unknown[0])
        return known, unknown

    def _is_unknown_flag(self, word: str) -> bool:
        """Whether the first word can be nothing but a flag, and is none of this parser's."""
        if not word.startswith("-") or word in ("-", "--") or " " in word:  # as argparse has it
            return False
        short = [flag for flag in self._flags() if len(flag) == 2]  # -j4 is -j 4
        return word.partition("=")[0] not in self._flags() and not word.startswith(tuple(short))

    def _unknown(self, word: str) -> UserError:
        return UserError(f"unknown argument {word!r}{self._hint(word)}; see {self.prog} --help")

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def _hint(self, word: str) -> str:
        flags = self._flags()
        if "--machine_types" in flags and _is_machine_type(word):
            return "; machine types are given with --machine_types"
        from asd.systems.registry import owners_of

        flag = word.partition("=")[0]
        if "--model" in flags and (owners := owners_of(flag)):
            if not any(owners_of(known) for known in flags):
                return "; leave it out, the trained model knows its own"
            return f"; only {', '.join(owners)} have it (--model)"
        return nearest_flag(flag, flags)


def _is_machine_type(word: str) -> bool:
    """Whether any challenge year has a machine type of this name."""
    from asd.challenge.catalog import challenge_names, load_challenge

    years = map(load_challenge, challenge_names())
    return any(word in {**year.dev.sections, **year.eval.sections} for year in years)


def add_command(commands: Any, name: str, run: Any, text: str = "") -> Any:
    """Add a command of `asd` that calls `run(args)`; `COMMANDS` has its line in the list."""
    return add_subcommand(commands, name, run, COMMANDS[name].summary, text)


def add_subcommand(commands: Any, name: str, run: Any, summary: str, text: str = "") -> Any:
    """Add a command of a command; `summary` is its line in the list of them."""
    description = textwrap.fill(summary[0].upper() + summary[1:] + ".", 95)
    if text:
        description += "\n\n" + textwrap.dedent(text).strip()
    command = commands.add_parser(name, help=summary, description=description)
    command.set_defaults(command=run)
    return command
