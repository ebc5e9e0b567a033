"""Commands about one's own recordings: learn, score."""

import argparse
import logging
from pathlib import Path
from typing import Any

from asd.cli.parsing import add_command, add_set
from asd.errors import UserError
from asd.schema.convert import convert
from asd.schema.values import Channel, Count, Fraction, Positive, Seed
from asd.systems.registry import find_system

log = logging.getLogger(__name__)


def add_commands(commands: Any) -> None:
    """Add the commands about one's own recordings."""
    _add_learn(commands)
    _add_score(commands)


def _add_learn(commands: Any) -> None:
    command = add_command(
        commands, "learn", _learn, "learn a machine's normal sound from recordings of any names",
        """
        Give a folder, files, or both: any format and rate, any number of channels, any length.
        Twenty recordings of ten seconds are a start; a hundred allow a false-alarm rate of 0.01.

        examples:
          asd learn my_pump/normal --out pump.asd
          asd learn monday/ tuesday/ --table clips.csv --channel mix --out pump.asd
          asd learn my_pump/normal --model ae --set epochs=20 --out pump.asd
        """,
    )  # fmt: skip
    command.add_argument("recordings", nargs="+", type=Path, metavar="FOLDER|FILE",
                         help="normal recordings; folders are searched with their subfolders"
    )  # fmt: skip
    command.add_argument("--out", required=True, type=Path, metavar="FILE",
                         help="file of the detector, such as pump.asd")  # fmt: skip
    command.add_argument("--model", default="stats", metavar="NAME",
                         help="a system, a recipe, or a class of your own (default: stats, the "
                         "mean and spread of each mel band)")  # fmt: skip
    add_set(command)
    command.add_argument("--score", default="", metavar="NAME",
                         help="the score that decides, where the system has several")  # fmt: skip
    command.add_argument("--window", default=10.0, type=_value(Positive, "--window"), metavar="S",
                         help="longer recordings are scored in windows of this length in seconds "
                         "(default: 10)")  # fmt: skip
    command.add_argument("--channel", type=_channel, metavar="NAME",
                         help="channel of recordings with several: left or near, right or far, "
                         "mix, or a number from 1 (default: left)")  # fmt: skip
    command.add_argument("--table", type=Path, metavar="FILE",
                         help="CSV file of what is known: file,label,domain,condition,session"
    )  # fmt: skip
    command.add_argument("--folds", default=5, type=_value(Count, "--folds"), metavar="INT",
                         help="deal recordings into so many parts, and hold each out in turn; 1 "
                         "learns only once, and holds a third out (default: 5)")  # fmt: skip
    command.add_argument("--machine", default="", metavar="NAME",
                         help="what the machine is called (default: the detector's file name)"
    )  # fmt: skip
    command.add_argument("--seed", default=13711, type=_value(Seed, "--seed"), metavar="INT",
                         help="random seed (default: 13711)")  # fmt: skip


def _add_score(commands: Any) -> None:
    command = add_command(
        commands, "score", _score, "score recordings with a detector that asd learn made",
        """
        Prints a table with the worst recording first. The CSV file has a row for each recording,
        and below it one for each window of those that are longer than a window. The p-value is the
        share of normal recordings that score as high; the decision is 1 where it is at most the
        false-alarm rate. Status 1: some recordings could not be read, and the others are scored.

        examples:
          asd score pump.asd new/ --out scores.csv
          asd score pump.asd monday.wav --false_alarms 0.02
        """,
    )  # fmt: skip
    command.add_argument("detector", type=Path, metavar="DETECTOR",
                         help="the file that asd learn wrote")  # fmt: skip
    command.add_argument("recordings", nargs="+", type=Path, metavar="FOLDER|FILE",
                         help="recordings; folders are searched with their subfolders")  # fmt: skip
    command.add_argument("--out", type=Path, metavar="FILE",
                         help="CSV file: file,start_s,end_s,score,p_value,decision")  # fmt: skip
    add_false_alarms(command)


def add_false_alarms(command: Any) -> None:
    """Add --false_alarms."""
    command.add_argument("--false_alarms", type=_value(Fraction, "--false_alarms"), metavar="RATE",
                         help="share of normal recordings that may be decided anomalous (default: "
                         "0.05, or the lowest that can be promised)")  # fmt: skip


def _learn(args: argparse.Namespace) -> int:
    _check_target(args.out)
    entry = find_system(args.model)
    parameters = _parameters(entry, args)
    from asd.monitoring.learning import Plan, learn
    from asd.monitoring.summary import summary
    from asd.monitoring.table import read_table

    plan = Plan(entry, parameters, args.window, args.folds, args.score, args.seed)
    learned = learn(
        args.recordings, plan,
        machine=args.machine or args.out.stem,
        known=read_table(args.table) if args.table else None,
    )  # fmt: skip
    learned.detector.save(args.out)
    print("\n".join(summary(learned)))
    print(f"{'written':14}{args.out} ({args.out.stat().st_size / 1e6:.2g} MB)")
    return 1 if learned.survey.unreadable else 0


def _score(args: argparse.Namespace) -> int:
    if args.out is not None:
        _check_target(args.out)
    from asd.csvfiles import write_rows
    from asd.detector import Detector
    from asd.monitoring.scoring import Scorer, score_recordings, table_rows, terminal_table

    detector = Detector.load(args.detector, "make it with asd learn")
    found = score_recordings(Scorer(detector, args.false_alarms), args.recordings)
    if args.out is not None:
        write_rows(args.out, table_rows(found))
    print("\n".join(terminal_table(found)))
    return 1 if any(one.reason for one in found) else 0


def _parameters(entry: Any, args: argparse.Namespace) -> Any:
    """The system's parameters with --set and --channel."""
    from dataclasses import replace

    parameters = entry.defaults(args.set_values)
    if args.channel is None:
        return parameters
    if not hasattr(parameters, "channel"):
        raise UserError(f"--channel: {entry.label} has no such parameter; leave the flag out")
    return replace(parameters, channel=args.channel)


def _check_target(path: Path) -> None:
    """Refuse what cannot be written before work is done for it."""
    if path.is_dir():
        raise UserError(f"--out: {path} is a folder; give the name of a file in it")


def _channel(text: str) -> Any:
    """A channel; in recordings of two microphones the first is the near one, as in 2026's data."""
    return _value(Channel, "--channel")({"near": "left", "far": "right"}.get(text, text))


def _value(kind: Any, flag: str) -> Any:
    """A converter of a flag's text whose complaint is one line."""

    def read(text: str) -> Any:
        try:
            return convert(kind, text)
        except ValueError as error:
            raise UserError(f"{flag}: expected {error}, got {text!r}") from None

    return read
