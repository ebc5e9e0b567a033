"""Words on the command line -> one call. No logic; a command imports what it needs."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from asd import __version__
from asd.cli.commands import COMMANDS
from asd.cli.parser import Parser
from asd.errors import UserError
from asd.memory import keep_freed_memory
from asd.output import SteadyOutput, steady_output
from asd.processes import exit_status, terminated_as_interrupted
from asd.words import shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns
    -------
    int
        The exit status: 0, 1 where some recordings could not be used, 2 for a user's mistake, 130
        for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    with steady_output() as output:
        return _main(arguments, output)


def _main(arguments: Sequence[str] | None, output: SteadyOutput) -> int:
    # Read when torch is loaded. Threads that wait for others then sleep; by default they spin, and
    # where other programs want the cores, training on two threads took up to eight times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        words = [word for word in words if word != "--debug"]
        args = _parser(words).parse_args(words)
        from asd.logs import set_up_logging

        set_up_logging(logging.DEBUG if debug else logging.INFO)
        with terminated_as_interrupted():
            status = args.command(args)
        output.check()
    except UserError as error:
        if debug:
            raise
        print(f"asd: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        how = getattr(args, "to_go_on", "add --restart to go on with a training")
        print(f"\nasd: interrupted; {how}", file=sys.stderr)
        return exit_status(interrupt)
    except OSError as error:  # a file or folder that nothing below has put into words
        if debug or error.filename is None:
            raise
        print(
            f"asd: error: {shown(error.filename)}: {error.strerror}; check the path, its "
            "permissions and free space (--debug shows where this came from)", file=sys.stderr,
        )  # fmt: skip
        return 2
    return status or 0


def _parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of all commands.

    With `words`, only the command that they name gets its flags; others are listed by name.
    """
    parser = Parser(
        prog="asd",
        description="Anomalous sound detection: learn a machine's normal sound, then score new "
        "clips.",
        epilog="asd COMMAND --help explains a command. All take --debug (show a traceback).",
    )
    parser.add_argument("--version", action="version", version=f"asd {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=Parser
    )
    named = COMMANDS if words is None else [word for word in words if not word.startswith("-")][:1]
    for module in dict.fromkeys(COMMANDS[name].module for name in named if name in COMMANDS):
        importlib.import_module(f"asd.cli.{module}").add_commands(commands)
    for name, command in COMMANDS.items():
        if name not in commands.choices:
            commands.add_parser(name, help=command.summary)
    return parser
