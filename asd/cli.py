"""Words on the command line -> one call. No logic; a command imports what it needs."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any, NoReturn

from asd import __version__
from asd.config import load_config, nearest
from asd.errors import UserError
from asd.parameters import SWITCHES, flags_of, parameter_fields

_GROUPS = {
    "data": "data and results",
    "system": "system",
    "decision": "decisions and metrics",
    "features": "features (a model is tested with those it was trained with)",
    "training": "training",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        args = _parser().parse_args([word for word in words if word != "--debug"])
        from asd.logs import set_up_logging

        set_up_logging()
        args.command(args)
    except UserError as error:
        if debug:
            raise
        print(f"asd: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nasd: interrupted; add --restart to go on with a training", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and know the nearest flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            word = unknown[0].partition("=")[0]
            raise UserError(
                f"unknown argument {unknown[0]!r}{nearest(word, flags)}; see {self.prog} --help"
            )
        return known, unknown


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="asd",
        description="Anomalous sound detection: learn how a machine sounds when it is well, then "
        "score new clips.",
        epilog="asd COMMAND --help explains a command. All take --debug (show a traceback).",
    )
    parser.add_argument("--version", action="version", version=f"asd {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for name, run, summary in (
        ("train", _train, "train the models of a data set"),
        ("test", _test, "score the test clips with trained models"),
        ("run", _run, "train, then test"),
    ):
        _add_run_command(commands, name, run, summary)
    _add_summarize(commands)
    _add_synthesize(commands)
    _add_download(commands)
    _add_rename(commands)
    _add_import(commands)
    return parser


def _add_command(commands: Any, name: str, run: Any, summary: str, text: str = "") -> Any:
    description = textwrap.fill(summary[0].upper() + summary[1:] + ".", 95)
    if text:
        description += "\n\n" + textwrap.dedent(text).strip()
    command = commands.add_parser(name, help=summary, description=description)
    command.set_defaults(command=run)
    return command


def _add_split(command: Any) -> None:
    split = command.add_mutually_exclusive_group(required=True)
    split.add_argument(
        *("-d", "--dev"), dest="split", action="store_const", const="dev",
        help="the development data set",
    )  # fmt: skip
    split.add_argument(
        *("-e", "--eval"), dest="split", action="store_const", const="eval",
        help="the additional training and evaluation data set",
    )  # fmt: skip


def _add_run_command(commands: Any, name: str, run: Any, summary: str) -> None:
    command = _add_command(
        commands, name, run, summary,
        """
        Parameters come from the built-in defaults, then from baseline.yaml (in the current folder,
        or the file that --config names), then from flags. A flag's default below is the built-in.

        examples:
          asd train -d --machine_types fan ToyCar --epochs 10
          asd test -d --machine_types fan ToyCar --score MAHALA
        """,
    )  # fmt: skip
    _add_split(command)
    _add_config(command)
    groups = {key: command.add_argument_group(title) for key, title in _GROUPS.items()}
    for parameter in parameter_fields():
        _add_parameter(groups[parameter.metadata["group"]], parameter)


def _add_config(command: Any) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="YAML file of parameters")


def _add_parameter(group: Any, parameter: Field[Any]) -> None:
    options: dict[str, Any] = {
        "dest": parameter.name,
        "default": argparse.SUPPRESS,
        "help": f"{parameter.metadata['meaning']}{_default_text(parameter)}".replace("%", "%%"),
    }
    if parameter.name in SWITCHES:
        options["action"] = "store_true"
    elif isinstance(parameter.default, tuple):
        options |= {"nargs": "*", "metavar": parameter.name.rstrip("s").upper()}
    elif isinstance(parameter.default, bool) or parameter.name == "mono":
        options |= {"nargs": "?", "const": "True", "metavar": "BOOL"}
    else:
        options["metavar"] = "VALUE"
    group.add_argument(*flags_of(parameter), **options)


def _default_text(parameter: Field[Any]) -> str:
    default = parameter.default
    said = "(default" in parameter.metadata["meaning"] or parameter.name in SWITCHES
    if said or default in (None, "", ()):
        return ""
    text = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f" (default: {text})"


def _config(args: argparse.Namespace, **more: Any) -> Any:
    names = {parameter.name for parameter in parameter_fields()}
    flags = {name: value for name, value in vars(args).items() if name in names}
    return load_config(args.config, {**flags, **more}, args.split)


def _train(args: argparse.Namespace) -> None:
    from asd.runs.pipeline import train

    config = _config(args)
    if config.test_only:
        raise UserError("--test_only: contradicts train; use asd test")
    train(config)


def _test(args: argparse.Namespace) -> None:
    from asd.runs.pipeline import test

    config = _config(args)
    if config.train_only:
        raise UserError("--train_only: contradicts test; use asd train")
    test(config)


def _run(args: argparse.Namespace) -> None:
    from asd.runs.pipeline import train_and_test

    train_and_test(_config(args))


def _add_some_parameters(command: Any, *names: str) -> None:
    for parameter in parameter_fields():
        if parameter.name in names:
            _add_parameter(command, parameter)


def _add_summarize(commands: Any) -> None:
    command = _add_command(
        commands, "summarize", _summarize, "write and print the summary tables of a data set",
        "Tables and a figure go to <results>/{dev,eval}_data/<export_dir>/summarize/<dataset>/.",
    )  # fmt: skip
    command.add_argument("dataset", help="challenge year, such as DCASE2023T2")
    _add_split(command)
    _add_config(command)
    _add_some_parameters(command, "result_directory", "export_dir")


def _summarize(args: argparse.Namespace) -> None:
    from asd.runs.pipeline import summarize

    summarize(_config(args))


def _add_synthesize(commands: Any) -> None:
    command = _add_command(
        commands, "synthesize", _synthesize,
        "make a small data set of machine-like sounds in a challenge year's own form",
        "For trying things out, and for tests. It goes to the data folder, where real data would.",
    )  # fmt: skip
    _add_split(command)
    _add_config(command)
    _add_some_parameters(command, "dataset", "machine_types", "dataset_directory", "seed")
    command.add_argument("--train_source", type=int, default=60, metavar="N",
                         help="source training clips per section (default: 60)")  # fmt: skip
    command.add_argument("--train_target", type=int, default=8, metavar="N",
                         help="target training clips per section (default: 8)")  # fmt: skip
    command.add_argument("--test", type=int, default=12, metavar="N",
                         help="test clips per section, domain and label (default: 12)")  # fmt: skip
    command.add_argument("--seconds", type=float, nargs="+", default=[2.0], metavar="S",
                         help="length, or shortest and longest (default: 2)")  # fmt: skip
    command.add_argument("--overwrite", action="store_true",
                         help="replace machine types that are there")  # fmt: skip


def _synthesize(args: argparse.Namespace) -> None:
    from asd.audio.synthetic import SyntheticCounts, synthesize

    config = _config(args)
    synthesize(
        config.dataset_directory, config.challenge, config.split, config.machines,
        clips=SyntheticCounts(args.train_source, args.train_target, args.test),
        seconds=(min(args.seconds), max(args.seconds)), seed=config.seed, overwrite=args.overwrite,
    )  # fmt: skip


def _add_download(commands: Any) -> None:
    command = _add_command(
        commands, "download", _download, "download the official data set of a challenge year",
        "What is already there is kept; a broken download goes on where it stopped.",
    )  # fmt: skip
    _add_split(command)
    _add_config(command)
    _add_some_parameters(command, "dataset", "machine_types", "dataset_directory")
    command.add_argument("--parts", nargs="+", choices=["train", "test"], default=["train", "test"],
                         help="training clips, test clips or both (default: both)")  # fmt: skip
    command.add_argument("--keep_archives", action="store_true",
                         help="keep the zip files after unpacking")  # fmt: skip


def _download(args: argparse.Namespace) -> None:
    from asd.challenge.download import download

    config = _config(args)
    download(
        config.challenge, config.split, config.machines, config.dataset_directory,
        parts=args.parts, keep_archives=args.keep_archives,
    )  # fmt: skip


def _add_rename(commands: Any) -> None:
    command = _add_command(
        commands, "rename", _rename, "give evaluation clips their labelled names",
        "Copies test/ to test_rename/ by the organisers' list, which is looked for in the data\n"
        "folder or downloaded. Testing then also computes metrics.",
    )  # fmt: skip
    command.set_defaults(split="eval")
    _add_config(command)
    _add_some_parameters(command, "dataset", "dataset_directory")
    command.add_argument("--list", type=Path, metavar="FILE", help="the organisers' list")
    command.add_argument("--link", action="store_true", help="link instead of copying")
    command.add_argument("--allow_wrong_labels", action="store_true",
                         help="accept a list that is known to be wrong")  # fmt: skip


def _rename(args: argparse.Namespace) -> None:
    from asd.challenge.labels import rename_eval_clips

    config = _config(args)
    rename_eval_clips(
        config.dataset_directory, config.challenge, list_path=args.list, link=args.link,
        allow_wrong=args.allow_wrong_labels,
    )  # fmt: skip


def _add_import(commands: Any) -> None:
    command = _add_command(
        commands, "import-baseline", _import_baseline,
        "take over models that the public baseline trained",
        """
        FOLDER is the public program's models/saved_model/<export_dir>. Parameters are read from
        the args.json files in models/checkpoint/ beside it, where they are; thresholds from the
        score_distr_*.pickle files in FOLDER (read by an unpickler that only knows numbers).
        """,
    )  # fmt: skip
    command.set_defaults(split="dev")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="folder of .pth files")
    command.add_argument("--gamma", type=Path, metavar="FILE",
                         help="JSON file of gamma parameters, in place of pickles")  # fmt: skip
    _add_config(command)
    _add_some_parameters(command, "result_directory", "export_dir")


def _import_baseline(args: argparse.Namespace) -> None:
    from asd.runs.importing import import_baseline

    for name in import_baseline(args.folder, args.gamma, _config(args)):
        print(name)
