"""The command that shows a data set: show."""

import argparse
from pathlib import Path
from typing import Any

from asd.cli.outputs import check_output
from asd.cli.parser import add_command
from asd.cli.parsing import (
    add_config,
    add_parameters,
    add_split,
    given_parameters,
    read_config,
)
from asd.errors import UserError
from asd.words import nearest


def add_commands(commands: Any) -> None:
    """Add the command."""
    command = add_command(
        commands, "show", _show,
        """
        DATA is a challenge year, whose clips are looked for in the data folder, or a folder of
        recordings of any names, in which each subfolder counts as a set.

        examples:
          asd show DCASE2024T2
          asd show DCASE2024T2 -e --attributes --machine_types ToothBrush
          asd show my_pump --page my_pump.html
        """,
    )  # fmt: skip
    command.add_argument("data", metavar="DATA", help="challenge year, or folder of recordings")
    add_split(command, required=False)
    command.set_defaults(split="dev")
    command.add_argument("--attributes", action="store_true",
                         help="count each combination of attributes for itself")  # fmt: skip
    command.add_argument("--page", type=Path, metavar="FILE",
                         help="also write a page with spectrograms and players")  # fmt: skip
    command.add_argument("--each", type=int, default=2, metavar="INT",
                         help="clips of each kind on the page (default: 2)")  # fmt: skip
    add_config(command)
    add_parameters(command, "machine_types", "dataset_directory")


def _show(args: argparse.Namespace) -> None:
    if args.each < 1:
        raise UserError(f"--each: expected a number of clips of 1 or more, got {args.each}")
    if args.page is not None:
        check_output("--page", args.page)
    from asd.challenge.catalog import challenge_names
    from asd.jobs.showing import (
        challenge_set,
        recorded_set,
        survey,
        survey_text,
        write_survey_page,
    )

    folder = Path(args.data)
    if not folder.is_dir() and args.data not in challenge_names():
        raise UserError(
            f"{args.data}: neither a folder nor a challenge year"
            f"{nearest(args.data, challenge_names())}; years are {', '.join(challenge_names())}"
        )
    if folder.is_dir():
        if "machine_types" in given_parameters(args):
            raise UserError(
                f"--machine_types: {args.data} is a folder of recordings, which has none; leave it "
                "out"
            )
        title, clips = folder.resolve().name, recorded_set(folder)
    else:
        config = read_config(args, dataset=args.data)
        title, clips = f"{config.dataset} {config.split}", challenge_set(config)
    found = survey(title, clips, by_attributes=args.attributes)
    print(survey_text(found))
    if args.page is not None:
        write_survey_page(args.page, found, args.each)
