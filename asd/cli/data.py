"""Commands about data: synthesize, download, rename, attributes."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asd.cli.parser import add_command
from asd.cli.parsing import add_config, add_parameters, add_split, read_config


def add_commands(commands: Any) -> None:
    """Add the commands about data."""
    _add_synthesize(commands)
    _add_download(commands)
    _add_rename(commands)
    _add_attributes(commands)


def _add_synthesize(commands: Any) -> None:
    command = add_command(
        commands, "synthesize", _synthesize,
        "For trying things out, and for tests. It goes to the data folder, where real data would.",
    )  # fmt: skip
    add_split(command)
    add_config(command)
    add_parameters(command, "dataset", "machine_types", "dataset_directory", "seed")
    command.add_argument("--train_source", type=int, default=60, metavar="INT",
                         help="source training clips per section (default: 60)")  # fmt: skip
    command.add_argument("--train_target", type=int, default=8, metavar="INT",
                         help="target training clips per section (default: 8)")  # fmt: skip
    command.add_argument("--test", type=int, default=12, metavar="INT",
                         help="test clips per section, domain and label (default: 12)")  # fmt: skip
    command.add_argument("--seconds", type=float, nargs="+", default=[2.0], metavar="S",
                         help="length, or shortest and longest (default: 2)")  # fmt: skip
    command.add_argument("--clutter", type=float, metavar="DB",
                         help="add noise of its own colour to every clip, at this level against "
                         "the clip's in dB (default: none)")  # fmt: skip
    command.add_argument("--hide_attributes", nargs="*", metavar="MACHINE",
                         help="names of these machine types' clips tell no attributes, of all "
                         "if none are given; a table beside the clips does")  # fmt: skip
    command.add_argument("--attribute_contrast", type=float, default=1.0, metavar="X",
                         help="how far apart attributes sound: factor on the steps of speed, which "
                         "are 6 percent at 1, easy to tell; 0.25 is hard (default: 1)")  # fmt: skip
    command.add_argument("--overwrite", action="store_true",
                         help="replace machine types that are there")  # fmt: skip


def _synthesize(args: argparse.Namespace) -> None:
    from asd.synthetic.dataset import SyntheticCounts, synthesize

    config = read_config(args)
    synthesize(
        config.dataset_directory, config.challenge, config.split, config.machines,
        clips=SyntheticCounts(args.train_source, args.train_target, args.test),
        seconds=(args.seconds[0], args.seconds[-1]), clutter_db=args.clutter, seed=config.seed,
        hide_attributes=_hidden(args, config.machines),
        attribute_contrast=args.attribute_contrast, overwrite=args.overwrite,
    )  # fmt: skip


def _hidden(args: argparse.Namespace, machines: Sequence[str]) -> Sequence[str]:
    """Machine types whose attributes are to be hidden: all if the flag names none."""
    return () if args.hide_attributes is None else args.hide_attributes or machines


def _add_download(commands: Any) -> None:
    command = add_command(
        commands, "download", _download,
        "What is already there is kept; a broken download goes on where it stopped.",
    )  # fmt: skip
    add_split(command)
    add_config(command)
    add_parameters(command, "dataset", "machine_types", "dataset_directory")
    command.add_argument("--parts", nargs="+", choices=["train", "test"], default=["train", "test"],
                         help="training clips, test clips or both (default: both)")  # fmt: skip
    command.add_argument("--keep_archives", action="store_true",
                         help="keep the zip files after unpacking")  # fmt: skip
    command.add_argument("--renew", action="store_true",
                         help="get archives that the organisers have replaced")  # fmt: skip


def _download(args: argparse.Namespace) -> None:
    from asd.challenge.download.dataset import download

    config = read_config(args)
    download(
        config.challenge, config.split, config.machines, config.dataset_directory,
        parts=args.parts, keep_archives=args.keep_archives, renew=args.renew,
    )  # fmt: skip


def _add_rename(commands: Any) -> None:
    command = add_command(
        commands, "rename", _rename,
        "Copies test/ to test_rename/ by the organisers' list, which is looked for in the data\n"
        "folder or downloaded. Testing then also computes metrics.",
    )  # fmt: skip
    command.set_defaults(split="eval")
    add_config(command)
    add_parameters(command, "dataset", "dataset_directory")
    command.add_argument("--list", type=Path, metavar="FILE", help="the organisers' list")
    command.add_argument("--link", action="store_true", help="link instead of copying")
    command.add_argument("--allow_wrong_labels", action="store_true",
                         help="accept a list that is known to be wrong")  # fmt: skip


def _rename(args: argparse.Namespace) -> None:
    from asd.challenge.labels import rename_eval_clips

    config = read_config(args)
    rename_eval_clips(
        config.dataset_directory, config.challenge, list_path=args.list, link=args.link,
        allow_wrong=args.allow_wrong_labels,
    )  # fmt: skip


def _add_attributes(commands: Any) -> None:
    command = add_command(
        commands, "attributes", _attributes,
        """
        The organisers published them after the challenge. They go to
        <data>/<year>/{dev,eval}_data/ground_truth_attributes/<machine>/, beside the clips; nothing
        learns from them unless it is told to.

        example: asd attributes -d --dataset DCASE2024T2
        """,
    )  # fmt: skip
    add_split(command)
    add_config(command)
    add_parameters(command, "dataset", "machine_types", "dataset_directory")


def _attributes(args: argparse.Namespace) -> None:
    from asd.challenge.true_attributes import fetch_true_attributes

    config = read_config(args)
    machines = config.machines if config.machine_types else ()
    where = config.dataset_directory, config.challenge, config.split
    for path in fetch_true_attributes(*where, machines):
        print(path)
