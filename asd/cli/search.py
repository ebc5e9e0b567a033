"""The command that searches for parameters."""

import argparse
from pathlib import Path
from typing import Any

from asd.cli.parser import add_command
from asd.cli.parsing import (
    add_config,
    add_parameters,
    add_set,
    add_split,
    given_parameters,
)
from asd.config import Config, load_config
from asd.errors import UserError
from asd.schema.convert import convert
from asd.schema.values import Count, WholeNumber

_OBJECTIVES = ("left_out", "published", "pseudo_auc")
_METRICS = ("official", "own_domain")
_FOLDS = 3
_TEXT = """
SPACE is a YAML file of keys, as --set takes them, and what each may be:

  training.learning_rate: {low: 1.0e-5, high: 1.0e-2, log: true}
  training.epochs: {low: 4, high: 16, step: 4}      # no point: whole numbers
  frontend.windows: [[1024], [256, 4096]]           # one of these
  augmentation.mixup: {choices: [0.0, 0.5], when: {training.epochs: [12, 16]}}
  score: [KNN, KNN-SMOTE]                           # which score is judged

Values are proposed by TPE (Optuna), and trials that do worse than the median so far are
given up. Objectives:

  left_out    the official score. With --folds, the search is done once more for each part
              of the machine types, which it may not look at, and its choice is scored
              there: the nested estimate, which can be reported. Up to folds + 1 times
              the trainings.
  published   mean over five random choices of 5 of 7 machine types, each learned and
              scored for itself, on test clips: as published for DCASE2024, and flattering
  pseudo_auc  needs no anomaly and no label: normal clips of other machine types and
              attributes stand in

A search that was interrupted goes on when it is started again. Equal seeds, and as many
trials at the same time, give equal trials.

examples:
  asd search ae --space space.yaml --trials 30 -d
  asd search raw_spec --space space.yaml --objective pseudo_auc -d --dataset DCASE2025T2
  asd run -d --model results/search/raw_spec/best.yaml
"""


def add_commands(commands: Any) -> None:
    """Add the command."""
    command = add_command(
        commands, "search", _search,
        _TEXT,
    )  # fmt: skip
    command.set_defaults(to_go_on="start the same search again to go on with it")
    command.add_argument("model", metavar="MODEL", help="a system, a recipe, or a class of your "
                         "own, as --model of asd train")  # fmt: skip
    add_split(command)
    command.add_argument("--space", required=True, type=Path, metavar="FILE",
                         help="YAML file of what is varied")  # fmt: skip
    command.add_argument("--trials", default="100", metavar="INT",
                         help="trials of a study, those of an earlier start among them "
                         "(default: 100)")  # fmt: skip
    command.add_argument("--objective", default="left_out", choices=_OBJECTIVES,
                         help="what is maximised (default: left_out)")  # fmt: skip
    command.add_argument("--metric", default="official", choices=_METRICS,
                         help="official: the year's official score; own_domain: harmonic mean of "
                         "the AUC of each domain with its own anomalies, and the pAUC, as "
                         "published for DCASE2024 (default: official)")  # fmt: skip
    command.add_argument("--folds", metavar="INT",
                         help="parts of the machine types that are left out in turn, for the "
                         "nested estimate; 0: no estimate (default: 3, or as many as there are "
                         "machine types)")  # fmt: skip
    command.add_argument("--study", default="", metavar="URL",
                         help="where the trials are kept, for several searches at once "
                         "(default: sqlite:///<results>/search/<export_dir>/study.db)")  # fmt: skip
    add_config(command)
    add_set(command)
    add_parameters(
        command, "dataset", "machine_types", "dataset_directory", "result_directory",
        "feature_directory", "export_dir", "is_auto_download", "mono", "score", "max_fpr", "seed",
        "use_cuda", "gpu_id", "threads", "jobs", "cluster", "cluster_timeout",
    )  # fmt: skip


def _search(args: argparse.Namespace) -> None:
    flags = {**given_parameters(args), "model": args.model}

    def make_config(set_texts: list[str]) -> Config:
        return load_config(args.config, flags, args.split, [*args.set_values, *set_texts])

    base = make_config([])
    trials = _number("--trials", Count, args.trials)
    folds = _folds(args, len(base.machines))
    from asd.search.outputs import write_outcome  # loads torch
    from asd.search.plan import Search
    from asd.search.searching import run_search
    from asd.search.space import read_space

    folder = base.result_directory / "search" / base.export_dir
    search = Search(
        make_config,
        read_space(args.space),
        args.objective,
        args.metric,
        trials,
        folds,
        folder,
        args.study or f"sqlite:///{(folder / 'study.db').absolute()}",
        base.jobs,
    )
    outcome = run_search(search)
    for line in outcome.lines():
        print(line)
    for path in write_outcome(outcome):
        print(path)


def _folds(args: argparse.Namespace, machines: int) -> int:
    """Parts to leave out; none where the choice sees no label, or there is but one machine type."""
    if args.folds is not None:
        return _number("--folds", WholeNumber, args.folds)
    return min(_FOLDS, machines) if machines > 1 and args.objective != "pseudo_auc" else 0


def _number(flag: str, kind: Any, text: str) -> int:
    try:
        found: int = convert(kind, text)
    except ValueError as error:
        raise UserError(f"{flag}: expected {error}, got {text!r}") from None
    return found
