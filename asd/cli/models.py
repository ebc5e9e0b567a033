"""Commands about models: train, test, run, summarize, embed, visualize, import-baseline."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asd.cli.outputs import check_output
from asd.cli.parser import add_command
from asd.cli.parsing import (
    add_config,
    add_page,
    add_parameter,
    add_parameters,
    add_set,
    add_split,
    given_parameters,
    help_of,
    read_config,
    without_parameters,
)
from asd.config import Config, file_model
from asd.errors import UserError
from asd.run_parameters import RunParameters
from asd.schema.parameters import Parameter, Role, parameters_of
from asd.systems.registry import SystemEntry, find_system

log = logging.getLogger(__name__)

_GROUPS: dict[Role, str] = {
    "data": "data and results",
    "run": "the run",
    "scoring": "decisions and metrics",
    "features": "features (a trained model knows them)",
    "training": "training (a trained model knows it)",
}


def add_commands(commands: Any) -> None:
    """Add the commands about models."""
    _add_run_command(commands, "train", _train)
    add_page(_add_run_command(commands, "test", _test))
    _add_run(commands)
    _add_summarize(commands)
    _add_embed(commands)
    _add_visualize(commands)
    _add_import(commands)


def _add_run_command(commands: Any, name: str, run: Any) -> Any:
    command = add_command(
        commands, name, run,
        """
        Parameters come from the built-in defaults, then from baseline.yaml (in the current folder,
        or the file that --config names), then from flags. A flag's default below is the built-in.
        Flags of the chosen --model are shown with those that all have.

        examples:
          asd train -d --machine_types fan ToyCar --epochs 10
          asd test -d --machine_types fan ToyCar --score MAHALA
          asd train --help --model BiGAN
          asd train -d --model dis_spec_scac_trainable --set losses[0].subclusters=8
          asd run -d --model ae raw_spec dis_spec_scac_trainable --seeds 0 1 2 3
        """,
    )  # fmt: skip
    add_split(command)
    add_config(command)
    add_set(command)
    groups: dict[str, Any] = {}
    for each in parameters_of(RunParameters):
        if (name, each.name) != ("run", "model"):
            add_parameter(_group(command, groups, each), each)

    def add_flags_of_systems(words: Sequence[str]) -> None:
        for each in _parameters_of_systems(_named_systems(words)):
            add_parameter(_group(command, groups, each), each)

    command.before_parsing = add_flags_of_systems
    return command


def _group(command: Any, groups: dict[str, Any], each: Parameter) -> Any:
    if each.role not in groups:
        groups[each.role] = command.add_argument_group(_GROUPS[each.role])
    return groups[each.role]


def _named_systems(words: Sequence[str]) -> list[SystemEntry]:
    """The systems that the words of a command name, or the file that it reads."""
    names: list[str] = []
    file = None
    for i, word in enumerate(words):
        flag, _, value = word.partition("=")
        following = [value] if value else _until_flag(words[i + 1 :])
        if flag == "--model":
            names = following
        elif flag == "--config" and following:
            file = Path(following[0])
    return [find_system(name) for name in names or [file_model(file)]]


def _until_flag(words: Sequence[str]) -> list[str]:
    end = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return list(words[:end])


def _parameters_of_systems(entries: Sequence[SystemEntry]) -> list[Parameter]:
    found: dict[str, Parameter] = {}
    for entry in entries:
        for each in parameters_of(entry.parameters_class()):
            found.setdefault(each.name, each)
    return list(found.values())


def _add_run(commands: Any) -> None:
    command = _add_run_command(commands, "run", _run)
    add_page(command)
    group = command.add_argument_group("comparison")
    (model,) = (each for each in parameters_of(RunParameters) if each.name == "model")
    group.add_argument("--model", nargs="+", default=[], metavar="NAME",
                       help=f"{help_of(model)}; several are compared "
                       f"(default: {model.default})")  # fmt: skip
    group.add_argument("--seeds", nargs="+", default=[], metavar="INT",
                       help="in place of --seed: run with each of these, and end in a table of "
                       "means and standard deviations")  # fmt: skip


def _train(args: argparse.Namespace) -> None:
    config = read_config(args)
    if config.test_only:
        raise UserError("--test_only: contradicts train; use asd test")
    from asd.jobs.pipeline import train  # loads torch: not before the flags are known to be good

    train(config)


def _test(args: argparse.Namespace) -> None:
    config = read_config(args)
    if config.train_only:
        raise UserError("--train_only: contradicts test; use asd train")
    _check_page(args)
    from asd.jobs.pipeline import test

    test(config, args.page)


def _check_page(args: argparse.Namespace) -> None:
    if args.page is not None:
        check_output("--page", args.page)


def _run(args: argparse.Namespace) -> None:
    configs = _run_configs(args)
    _check_page(args)
    if args.seeds or len(configs) > 1:
        from asd.jobs.comparison import compare

        compare(configs, args.page)
    else:
        from asd.jobs.pipeline import train_and_test

        train_and_test(configs[0], args.page)


def _run_configs(args: argparse.Namespace) -> list[Config]:
    """A Config for each system and seed."""
    given = given_parameters(args)
    if args.seeds and "seed" in given:
        raise UserError("--seed and --seeds: give the one or the other")
    models: list[dict[str, Any]] = [{"model": name} for name in args.model] or [{}]
    seeds: list[dict[str, Any]] = [{"seed": seed} for seed in args.seeds] or [{}]
    configs: list[Config] = []
    for model in models:
        own = _heeded(args, given, model.get("model"))
        for seed in seeds:
            config = read_config(own, **model, **seed)
            if config not in configs:
                configs.append(config)
    return configs


def _heeded(
    args: argparse.Namespace, given: dict[str, Any], model: str | None
) -> argparse.Namespace:
    """The flags that a system heeds, where several are run; the others are told."""
    if model is None:
        return args
    entry = find_system(model)
    known = {each.name for each in parameters_of(entry.parameters_class())}
    known |= {each.name for each in parameters_of(RunParameters)}
    strange = [name for name in given if name not in known]
    if strange:
        flags = ", ".join(f"--{name}" for name in strange)
        log.warning("%s: no effect on %s, which has no such parameter", flags, entry.label)
    return without_parameters(args, strange)


def _add_summarize(commands: Any) -> None:
    command = add_command(
        commands, "summarize", _summarize,
        """
        All systems with results of the data set stand side by side; with --export_dir, only the
        scores of that one. Tables and figures go to
        <results>/{dev,eval}_data/<export_dir>/summarize/<dataset>/.
        """,
    )  # fmt: skip
    command.add_argument("dataset", help="challenge year, such as DCASE2023T2")
    add_split(command)
    command.add_argument("--columns", choices=["official", "unlabeledasd"], default="official",
                         help="unlabeledasd: also a table per machine type with the columns of "
                         "that program (default: official)")  # fmt: skip
    add_config(command)
    add_parameters(command, "result_directory", "export_dir")


def _summarize(args: argparse.Namespace) -> None:
    from asd.jobs.summarizing import summarize

    config = read_config(args, dataset=args.dataset)
    is_all = "export_dir" not in given_parameters(args)
    summarize(config, all_systems=is_all, columns=args.columns)


def _add_embed(commands: Any) -> None:
    command = add_command(
        commands, "embed", _embed,
        """
        For trained systems that embed (recipes). The .npz file holds, per clip: embeddings,
        machine, section, domain, label, attributes, file_name, part (train or test).
        """,
    )  # fmt: skip
    add_split(command)
    command.add_argument("--parts", nargs="+", choices=["train", "test"], default=["train", "test"],
                         help="training clips, test clips or both (default: both)")  # fmt: skip
    command.add_argument("--out", type=Path, required=True, metavar="FILE.npz",
                         help="file to write")  # fmt: skip
    add_config(command)
    add_parameters(
        command, "model", "dataset", "machine_types", "dataset_directory", "feature_directory",
        "result_directory", "export_dir", "model_name_suffix", "seed", "mono", "use_cuda",
        "gpu_id", "threads",
    )  # fmt: skip


def _embed(args: argparse.Namespace) -> None:
    config = read_config(args)
    from asd.jobs.embeddings import embed

    embed(config, list(dict.fromkeys(args.parts)), args.out)


def _add_visualize(commands: Any) -> None:
    command = add_command(
        commands, "visualize", _visualize,
        """
        Per machine type: a map of its clips by domain, attributes and label, and histograms of
        the anomaly scores, of every backend with its default parameters unless --results is given.
        """,
    )  # fmt: skip
    command.add_argument("file", type=Path, metavar="FILE.npz", help="written by asd embed")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER",
                         help="folder for the pictures")  # fmt: skip
    command.add_argument("--method", choices=["tsne", "umap"], default="tsne",
                         help="umap needs the extra asd[umap] (default: tsne)")  # fmt: skip
    command.add_argument("--results", type=Path, metavar="FOLDER",
                         help="result folder to take the scores of asd test from")  # fmt: skip
    command.add_argument("--map_seed", type=int, default=0, metavar="INT",
                         help="random seed of the maps (default: 0)")  # fmt: skip
    command.add_argument("--classes", action="store_true",
                         help="also a picture of which classes (machine type, section, domain, "
                         "attributes) are mistaken for which")  # fmt: skip
    command.add_argument("--interactive", action="store_true",
                         help="maps in three dimensions too, in one HTML file; needs the extra "
                         "asd[interactive]")  # fmt: skip


def _visualize(args: argparse.Namespace) -> None:
    from asd.jobs.visualizing import visualize

    given = args.file, args.out, args.method, args.results, args.map_seed
    for path in visualize(*given, interactive=args.interactive, classes=args.classes):
        print(path)


def _add_import(commands: Any) -> None:
    command = add_command(
        commands, "import-baseline", _import_baseline,
        """
        FOLDER is the public program's models/saved_model/<export_dir>. Parameters are read from
        the args.json files in models/checkpoint/ beside it, where they are; thresholds from the
        score_distr_*.pickle files in FOLDER (numbers are read from them, nothing is unpickled).
        """,
    )  # fmt: skip
    command.set_defaults(split="dev")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="folder of .pth files")
    command.add_argument("--gamma", type=Path, metavar="FILE",
                         help="JSON file of gamma parameters, in place of pickles")  # fmt: skip
    add_config(command)
    add_parameters(command, "result_directory", "export_dir")


def _import_baseline(args: argparse.Namespace) -> None:
    from asd.jobs.importing import import_baseline

    for name in import_baseline(args.folder, args.gamma, read_config(args)):
        print(name)
