"""Commands about the challenge: evaluate, submission check and pack, format."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from asd.cli.parser import Parser, add_command, add_subcommand
from asd.cli.parsing import (
    add_config,
    add_parameters,
    add_split,
    given_parameters,
    read_config,
)
from asd.errors import UserError


def add_commands(commands: Any) -> None:
    """Add the commands about the challenge."""
    _add_evaluate(commands)
    _add_submission(commands)
    _add_format(commands)


def _add_evaluate(commands: Any) -> None:
    command = add_command(
        commands, "evaluate", _evaluate,
        """
        FOLDER holds <team>/<system>/ with anomaly_score_*.csv and decision_result_*.csv, under the
        names of the challenge or of asd test. The ground truth is the folder of the organisers'
        evaluator (such as github.com/nttcslab/dcase2023_task2_evaluator) with ground_truth_data/,
        ground_truth_domain/ and ground_truth_attributes/. Result files are the organisers', with
        F1-EV and pictures beside them.

        example: asd evaluate teams --ground-truth dcase2023_task2_evaluator --dataset DCASE2023T2
        """,
    )  # fmt: skip
    command.set_defaults(split="eval")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="folder of submissions")
    command.add_argument("--ground-truth", "--ground_truth", type=Path, required=True,
                         metavar="FOLDER", help="the organisers' evaluator repository")  # fmt: skip
    command.add_argument("--out", type=Path, metavar="FOLDER",
                         help="results (default: <results>/evaluation/<dataset>)")  # fmt: skip
    add_config(command)
    add_parameters(command, "dataset", "result_directory")


def _evaluate(args: argparse.Namespace) -> None:
    from asd.jobs.evaluating import evaluate

    config = read_config(args)
    out = args.out or config.result_directory / "evaluation" / config.dataset
    evaluate(args.folder, args.ground_truth, config.challenge, out)


def _add_submission(commands: Any) -> None:
    command = add_command(commands, "submission", None)
    actions = command.add_subparsers(
        title="actions", metavar="ACTION", required=True, parser_class=Parser
    )
    check = add_subcommand(
        actions, "check", _check, "check the CSV files of a system against the year's rules",
        "FOLDER may also be the zip file that asd submission pack writes. Without --dataset the\n"
        "year is taken from the files' names.\n"
        "All machine types and clips once, scores finite, decisions 0 or 1, names right. Prints a\n"
        "line for each problem; the exit status is 0 if there is none. Which clips there are is\n"
        "taken from the data folder, or else from the organisers' list of labels; without either\n"
        "only the form of their names is checked.",
    )  # fmt: skip
    check.add_argument("folder", type=Path, metavar="FOLDER",
                       help="folder of the CSV files, or a zip file of such folders")  # fmt: skip
    _add_clip_sources(check)
    pack = add_subcommand(
        actions, "pack", _pack, "check the results of asd test -e and pack them for sending",
        """
        Takes the result files of one score from <results>/eval_data/<export_dir>_<score>/. The zip
        file holds them in the folder <author>_<institute>_task2_<index>, with a meta.yaml to be
        filled in, or yours.

        example: asd submission pack --author Smith --institute ABC --out Smith_ABC_task2_1.zip
        """,
    )  # fmt: skip
    pack.add_argument("--author", required=True, metavar="NAME",
                      help="last name of the corresponding author")  # fmt: skip
    pack.add_argument("--institute", required=True, metavar="NAME",
                      help="abbreviation of the institute")  # fmt: skip
    pack.add_argument("--index", type=int, default=1, metavar="INT",
                      help="number of the system, 1 to 4 (default: 1)")  # fmt: skip
    pack.add_argument("--out", type=Path, required=True, metavar="FILE", help="the zip file")
    pack.add_argument("--meta", type=Path, metavar="FILE",
                      help="a meta.yaml that is filled in (default: a skeleton)")  # fmt: skip
    pack.add_argument("--report", type=Path, metavar="FILE",
                      help="the technical report, a PDF")  # fmt: skip
    _add_clip_sources(pack, "result_directory", "export_dir", "score")


def _add_clip_sources(command: Any, *parameters: str) -> None:
    command.add_argument("-e", "--eval", dest="split", action="store_const", const="eval",
                         default="eval",
                         help="the evaluation data set, which submissions are about")  # fmt: skip
    command.add_argument("--list", type=Path, metavar="FILE", help="the organisers' list")
    add_config(command)
    add_parameters(command, "dataset", "dataset_directory", *parameters)


def _check(args: argparse.Namespace) -> None:
    from asd.submission.check import check

    config = read_config(args)
    wanted = config.challenge if "dataset" in given_parameters(args) else None
    found = check(args.folder, config.dataset_directory, config.challenge, wanted, args.list)
    _report(found.problems, args.folder)
    print(f"{args.folder}: in order for {found.challenge.name}; {found.basis}")


def _pack(args: argparse.Namespace) -> None:
    from asd.evaluation.results import score_folder
    from asd.submission import package
    from asd.submission.check import find_test_clips
    from asd.submission.systems import read_enclosure

    config = read_config(args)
    label = package.submission_label(args.author, args.institute, args.index)
    results = score_folder(config.result_directory, "eval", config.export_dir, config.score_name)
    clips = find_test_clips(config.dataset_directory, config.challenge, args.list)
    files, problems = package.gather_submission(results, config.challenge, clips)
    _report(problems, results)
    meta = (
        read_enclosure(args.meta) if args.meta else package.meta_skeleton(config.challenge, label)
    )
    report = read_enclosure(args.report) if args.report else None
    package.write_package(args.out, label, files, meta, report)
    print(f"{args.out}: {label} with {len(files)} files of {results}; {clips.text}")


def _report(problems: Iterable[object], folder: Path) -> None:
    """Print problems, and end the command if there are any."""
    lines = [str(problem) for problem in problems]
    if lines:
        print("\n".join(lines))
        raise UserError(f"{folder}: {len(lines)} problem(s), listed above; mend them first")


def _add_format(commands: Any) -> None:
    command = add_command(
        commands, "format", _format,
        """
        <output>/<year>/<dev|eval>/<machine>/<train|test>/ with one naming scheme, labels included:
        section_NN_<domain>_<train|test>_<normal|anomaly>_NNNN_<attributes>.wav, and a table
        <output>/clips.csv. Evaluation clips are labelled by test_rename/ or by the organisers'
        list, where the data folder holds either (asd rename fetches the list).
        """,
    )  # fmt: skip
    add_split(command)
    command.add_argument("--output", type=Path, required=True, metavar="FOLDER",
                         help="top folder of the tree")  # fmt: skip
    command.add_argument("--link", action="store_true", help="link instead of copying")
    command.add_argument("--list", type=Path, metavar="FILE", help="the organisers' list")
    add_config(command)
    add_parameters(command, "dataset", "machine_types", "dataset_directory")


def _format(args: argparse.Namespace) -> None:
    from asd.challenge.unify import unify

    config = read_config(args)
    machines = config.machines if config.machine_types else ()
    clips = unify(
        config.dataset_directory, config.challenge, config.split, machines,
        args.output, link=args.link, list_path=args.list,
    )  # fmt: skip
    print(f"{args.output}: {len(clips)} clips of {config.dataset} {config.split}")
