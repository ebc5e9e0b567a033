"""The command that takes a detector along: export."""

import argparse
from pathlib import Path
from typing import Any

from asd.cli.monitoring import add_false_alarms
from asd.cli.outputs import check_output
from asd.cli.parser import add_command
from asd.errors import UserError


def add_commands(commands: Any) -> None:
    """Add the command."""
    command = add_command(
        commands, "export", _export,
        """
        Waveform in, score and decision out; onnxruntime alone runs it (examples/score_onnx.py).
        Rate, window and threshold are in the file's metadata. Scores are compared with the
        detector's on the given recordings, and nothing is written where they differ.

        examples:
          asd export pump.asd --onnx pump.onnx --clips my_pump/normal
          asd export pump.asd --onnx pump.onnx --clips my_pump/normal --int8
        """,
    )  # fmt: skip
    command.add_argument("model", type=Path, metavar="MODEL", help="a detector, or model.pt")
    command.add_argument("--onnx", type=Path, required=True, metavar="FILE.onnx",
                         help="file to write")  # fmt: skip
    command.add_argument("--clips", nargs="+", type=Path, default=[], metavar="FOLDER|FILE",
                         help="normal recordings to compare the scores on (default: made-up "
                         "sounds); --int8 needs them")  # fmt: skip
    command.add_argument("--score", metavar="NAME", help="score (default: the detector's first)")
    command.add_argument("--machine", metavar="NAME",
                         help="machine type, where the detector knows several")  # fmt: skip
    command.add_argument("--window", type=_positive, metavar="SECONDS",
                         help="length of the input (default: the detector's, or 10)")  # fmt: skip
    command.add_argument("--decision_threshold", type=_share, metavar="QUANTILE",
                         help="decide by this quantile of normal scores (default: .9; of a "
                         "detector of asd learn, as asd score decides)")  # fmt: skip
    add_false_alarms(command)
    command.add_argument("--int8", action="store_true",
                         help="compute the autoencoder's network with 8-bit numbers")  # fmt: skip


def _positive(text: str) -> float:
    return _number("--window", text, "a number above 0", lambda value: 0 < value < 1e6)


def _share(text: str) -> float:
    return _number(
        "--decision_threshold", text, "a number above 0 and below 1", lambda value: 0 < value < 1
    )


def _number(flag: str, text: str, wanted: str, fits: Any) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise UserError(f"{flag}: expected {wanted}, got {text!r}")
    return value


def _export(args: argparse.Namespace) -> None:
    check_output("--onnx", args.onnx, [args.model])
    from asd.detector import Detector
    from asd.jobs.exporting import ExportOptions, export

    if args.false_alarms is not None and args.decision_threshold is not None:
        raise UserError("--decision_threshold: says the same as --false_alarms; leave one out")
    quantile = args.decision_threshold if args.false_alarms is None else 1 - args.false_alarms
    options = ExportOptions(args.score, args.machine, args.window, quantile, args.int8)
    report = export(Detector.load(args.model), args.onnx, args.clips, options)
    print("\n".join(report.lines()))
