"""The command that puts our scores beside published ones."""

import argparse
from typing import Any

from asd.cli.parser import add_command
from asd.cli.parsing import add_parameters, given_parameters


def add_commands(commands: Any) -> None:
    """Add the command."""
    command = add_command(
        commands, "reproduce", _reproduce,
        """
        Trains and tests as the row of a table says, on the whole data set of its year, and prints
        our official score beside the published one, if it is known here. Where weights or clips are
        missing it stops before any work, with the command that gets them.

        examples:
          asd reproduce list
          asd reproduce free_beats_2026_dev --dataset_directory /data
        """,
    )  # fmt: skip
    command.add_argument("row", metavar="ROW", help="name of a row, or the word list")
    add_parameters(
        command, "dataset_directory", "result_directory", "feature_directory", "is_auto_download",
        "seed", "threads", "jobs", "use_cuda", "gpu_id", "restart", "test_only",
    )  # fmt: skip


def _reproduce(args: argparse.Namespace) -> None:
    from asd.jobs.reproducing import listed, reproduce

    if args.row != "list":
        print(reproduce(args.row, given_parameters(args)))
        return
    rows = listed()
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        texts = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        print("  ".join(texts).rstrip())
