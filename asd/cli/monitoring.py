"""Commands about one's own recordings: learn, score, watch."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from asd.cli.outputs import check_output
from asd.cli.parser import add_command
from asd.cli.parsing import add_page, add_set
from asd.errors import UserError
from asd.output import has_lost_reader
from asd.processes import undisturbed
from asd.schema.convert import convert
from asd.schema.values import Channel, Count, Fraction, NonNegative, Positive, Seed, Share
from asd.systems.registry import find_system

log = logging.getLogger(__name__)


def add_commands(commands: Any) -> None:
    """Add the commands about one's own recordings."""
    _add_learn(commands)
    _add_score(commands)
    _add_watch(commands)


def _add_learn(commands: Any) -> None:
    command = add_command(
        commands, "learn", _learn,
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
                         "mean and spread of each mel band); auto tries a few and takes the one "
                         "that tells stand-ins for faults best")  # fmt: skip
    command.add_argument("--others", nargs="+", default=[], type=Path, metavar="FOLDER|FILE",
                         help="with --model auto: recordings of other machines, to choose "
                         "by")  # fmt: skip
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
    command.add_argument("--hold_out", choices=["auto", "each", "third"], default="auto",
                         help="each: every recording in turn, which takes 21 trainings; third: a "
                         "third, never learned, which takes one and promises less; auto: each "
                         "where that takes seconds (default)")  # fmt: skip
    command.add_argument("--machine", default="", metavar="NAME",
                         help="what the machine is called (default: the detector's file name)"
    )  # fmt: skip
    command.add_argument("--seed", default=13711, type=_value(Seed, "--seed"), metavar="INT",
                         help="random seed (default: 13711)")  # fmt: skip


def _add_score(commands: Any) -> None:
    command = add_command(
        commands, "score", _score,
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
    add_page(command)
    command.add_argument("--normal", nargs="+", type=Path, default=[], metavar="FOLDER|FILE",
                         help="of --page: normal recordings; the nearest is shown beside each "
                         "clip")  # fmt: skip


def _add_watch(commands: Any) -> None:
    command = add_command(
        commands, "watch", _watch,
        """
        Prints a line of JSON for each window: file, start_s, end_s, score, smoothed (running
        mean of scores), p_value and decision of the window alone, alarm (by the smoothed score),
        shift (how far the middle of normal scores has moved). A file is read when it is complete;
        one that cannot be read has "error" in its line. Ends on Ctrl-C, SIGTERM or the pipe's end.

        examples:
          asd watch pump.asd recordings/
          arecord -f S16_LE -r 16000 | asd watch pump.asd - --rate 16000
        """,
    )  # fmt: skip
    command.add_argument(
        "detector", type=Path, metavar="DETECTOR", help="the file that asd learn wrote"
    )
    command.add_argument(
        "source", metavar="FOLDER|-", help="a folder, or - for samples from standard input"
    )
    add_false_alarms(command)
    command.add_argument("--rate", type=_value(Count, "--rate"), metavar="HZ",
                         help="sampling rate of samples from a pipe, which are signed 16-bit "
                         "little-endian numbers")  # fmt: skip
    command.add_argument("--channels", default=1, type=_value(Count, "--channels"), metavar="INT",
                         help="their number of channels (default: 1)")  # fmt: skip
    command.add_argument("--existing", action="store_true",
                         help="score files that are in the folder already, too")  # fmt: skip
    command.add_argument("--smoothing", default=3.0, type=_value(Positive, "--smoothing"),
                         metavar="WINDOWS",
                         help="windows that the smoothed score looks back on; 1 does not smooth "
                         "(default: 3)")  # fmt: skip
    command.add_argument("--hysteresis", default=0.5, type=_value(Share, "--hysteresis"),
                         metavar="SHARE",
                         help="an alarm ends when the smoothed score has come back by this share "
                         "of the way from the threshold to the middle of normal scores (default: "
                         "0.5)")  # fmt: skip
    command.add_argument("--recentre", default=24.0, type=_value(NonNegative, "--recentre"),
                         metavar="HOURS",
                         help="hours of sound in which the middle of normal scores may move by a "
                         "quartile range; 0 keeps it where it was learned (default: "
                         "24)")  # fmt: skip


def add_false_alarms(command: Any) -> None:
    """Add --false_alarms."""
    command.add_argument("--false_alarms", type=_value(Fraction, "--false_alarms"), metavar="RATE",
                         help="share of normal recordings that may be decided anomalous (of a "
                         "detector of asd learn 0.05, or the lowest that can be "
                         "promised)")  # fmt: skip


def _learn(args: argparse.Namespace) -> int:
    check_output("--out", args.out, [args.table] if args.table else [])
    is_auto = args.model == "auto"
    if is_auto and (args.set_values or args.score):
        raise UserError("--model auto: chooses parameters and score; leave --set and --score out")
    if args.others and not is_auto:
        raise UserError("--others: is only used with --model auto; leave it out")
    entry = find_system("stats" if is_auto else args.model)
    parameters = _parameters(entry, args)
    from asd.monitoring.learning import learn
    from asd.monitoring.plan import Plan
    from asd.monitoring.summary import summary
    from asd.monitoring.table import read_table

    plan = Plan(entry, parameters, args.window, args.hold_out, args.score, args.seed)
    learned = learn(
        args.recordings, plan,
        machine=args.machine or args.out.stem,
        known=read_table(args.table) if args.table else None,
        choosing=is_auto,
        others=args.others,
    )  # fmt: skip
    learned.detector.save(args.out)
    if learned.choice is not None:
        print("\n".join([*learned.choice.table(), ""]))
    print("\n".join(summary(learned)))
    print(f"{'written':14}{args.out} ({args.out.stat().st_size / 1e6:.2g} MB)")
    return 1 if learned.survey.unreadable else 0


def _score(args: argparse.Namespace) -> int:
    _check_outputs_of_score(args)
    from asd.csvfiles import write_rows
    from asd.detector import Detector
    from asd.monitoring.scoring import Scorer, score_recordings, table_rows, terminal_table

    detector = Detector.load(args.detector, "make it with asd learn")
    scorer = Scorer(detector, args.false_alarms)
    found = score_recordings(scorer, args.recordings)
    if args.out is not None:
        write_rows(args.out, table_rows(found))
    print("\n".join(terminal_table(found)))
    if args.page is not None:
        from asd.monitoring.page import write_score_page

        write_score_page(args.page, args.detector.name, scorer, found, args.normal)
    return 1 if any(one.reason for one in found) else 0


def _watch(args: argparse.Namespace) -> int:
    from asd.detector import Detector
    from asd.monitoring.scoring import Scorer
    from asd.monitoring.stream import Stream, StreamParameters
    from asd.monitoring.watching import FolderWatch, watch_folder, watch_samples

    is_pipe = args.source == "-"
    if is_pipe and args.rate is None:
        raise UserError("--rate: is needed for samples from a pipe; give their rate in Hz")
    if not is_pipe and (args.rate is not None or args.channels != 1):
        raise UserError("--rate and --channels: files know theirs; leave the flags out")
    detector = Detector.load(args.detector, "make it with asd learn")
    scorer = Scorer(detector, args.false_alarms)
    parameters = StreamParameters(
        scorer.false_alarm_rate, args.smoothing, args.hysteresis, 3600 * args.recentre
    )
    stream = Stream(scorer.windows, scorer.own.score, parameters)
    try:
        if is_pipe:
            if sys.stdin is None:
                raise UserError("standard input: is closed; pipe samples in, or name a folder")
            source = sys.stdin.buffer
            lines = watch_samples(scorer, stream, source, args.rate, args.channels)
        else:
            lines = watch_folder(scorer, stream, FolderWatch(Path(args.source), args.existing))
        for line in lines:
            with undisturbed():
                print(json.dumps(line, ensure_ascii=False), flush=True)
            if has_lost_reader(sys.stdout):
                log.info("watch: ended, as nobody reads its output")
                break
    except KeyboardInterrupt:  # SIGTERM too: this is how a watch ends
        log.info("watch: ended")
    return 0


def _parameters(entry: Any, args: argparse.Namespace) -> Any:
    """The system's parameters with --set and --channel."""
    from dataclasses import replace

    parameters = entry.defaults(args.set_values)
    if args.channel is None:
        return parameters
    if not hasattr(parameters, "channel"):
        raise UserError(f"--channel: {entry.label} has no such parameter; leave the flag out")
    return replace(parameters, channel=args.channel)


def _check_outputs_of_score(args: argparse.Namespace) -> None:
    """Refuse what could not be written when all is scored."""
    if args.normal and args.page is None:
        raise UserError("--normal: is only used with --page; leave it out, or give --page")
    for place in args.normal:
        if not place.exists():
            raise UserError(f"--normal: {place}: no such file or folder; check the path")
    if args.out is not None:
        check_output("--out", args.out, [args.detector])
    if args.page is not None:
        check_output("--page", args.page, [args.detector, *([args.out] if args.out else [])])


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
