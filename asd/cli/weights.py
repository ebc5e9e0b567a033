"""Commands about pretrained weights: list, get, add."""

import argparse
from pathlib import Path
from typing import Any

from asd.cli.parser import Parser, add_command, add_subcommand


def add_commands(commands: Any) -> None:
    """Add the command about weights, which has commands of its own."""
    command = add_command(
        commands, "weights", _list,
        """
        They lie in one folder, which the environment variable ASD_WEIGHTS names (default:
        asd/weights below the user's cache folder). Nothing is fetched unless get is called. A
        recipe names weights by name or file.

        examples:
          asd weights list
          asd weights get mn04_as
          asd weights add beats_iter3 ~/Downloads/BEATs_iter3.pt
          asd weights add my_beats last.pt
        """,
    )  # fmt: skip
    actions = command.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=Parser
    )
    shown = add_subcommand(
        actions, "list", _list, "show known weights, licences, and which are here",
        "Of weights that are named, also where they lie and their SHA-256.",
    )  # fmt: skip
    shown.add_argument("names", nargs="*", metavar="NAME", help="show all that is known of these")
    get = add_subcommand(
        actions, "get", _get, "download weights",
        "What was fetched is checked by its SHA-256, where that is known, and by reading it.",
    )  # fmt: skip
    get.add_argument("names", nargs="+", metavar="NAME", help="as list shows them")
    add = add_subcommand(actions, "add", _add, "copy a file of weights to where recipes find it")
    add.add_argument("name", metavar="NAME", help="one that list shows, or your own")
    add.add_argument("file", type=Path, metavar="FILE", help="a .pt, .pth, .ckpt or .safetensors")


def _list(args: argparse.Namespace) -> None:
    from asd.encoders.weights import described, listed, weights_folder

    if args.names:
        print("\n\n".join(described(name) for name in args.names))
        return
    rows = listed()
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )
    print(f"\nfolder: {weights_folder()}")


def _get(args: argparse.Namespace) -> None:
    from asd.encoders.checkpoint import read_network
    from asd.encoders.weights import get_weights

    for name in args.names:
        get_weights(name, read_network)


def _add(args: argparse.Namespace) -> None:
    from asd.encoders.checkpoint import read_network
    from asd.encoders.weights import add_weights

    add_weights(args.name, args.file.expanduser(), read_network)
