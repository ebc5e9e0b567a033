"""Commands about models: train, test, run, summarize, embed, visualize, import-baseline."""

import argparse
from pathlib import Path
from typing import Any

from asd.cli.parsing import (
    add_command,
    add_config,
    add_parameter,
    add_parameters,
    add_split,
    read_config,
)
from asd.config import Config
from asd.errors import UserError
from asd.parameters import parameter_fields

_GROUPS = {
    "data": "data and results",
    "system": "system",
    "decision": "decisions and metrics",
    "features": "features (a model is tested with those it was trained with)",
    "training": "training",
    "gan": "BiGAN and GAN",
}


def add_commands(commands: Any) -> None:
    """Add the commands about models."""
    _add_run_command(commands, "train", _train, "train the models of a data set")
    _add_run_command(commands, "test", _test, "score the test clips with trained models")
    _add_run(commands)
    _add_summarize(commands)
    _add_embed(commands)
    _add_visualize(commands)
    _add_import(commands)


def _add_run_command(commands: Any, name: str, run: Any, summary: str) -> Any:
    command = add_command(
        commands, name, run, summary,
        """
        Parameters come from the built-in defaults, then from baseline.yaml (in the current folder,
        or the file that --config names), then from flags. A flag's default below is the built-in.

        examples:
          asd train -d --machine_types fan ToyCar --epochs 10
          asd test -d --machine_types fan ToyCar --score MAHALA
          asd run -d --model ae raw_spec dis_spec_scac_trainable --seeds 0 1 2 3
        """,
    )  # fmt: skip
    add_split(command)
    add_config(command)
    groups = {key: command.add_argument_group(title) for key, title in _GROUPS.items()}
    for parameter in parameter_fields():
        if (name, parameter.name) != ("run", "model"):
            add_parameter(groups[parameter.metadata["group"]], parameter)
    return command


def _add_run(commands: Any) -> None:
    command = _add_run_command(
        commands, "run", _run, "train, then test; of several systems or seeds, compare the scores"
    )
    group = command.add_argument_group("comparison")
    (model,) = (parameter for parameter in parameter_fields() if parameter.name == "model")
    group.add_argument("--model", nargs="+", default=[], metavar="NAME",
                       help=f"{model.metadata['meaning']}; several are compared "
                       f"(default: {model.default})")  # fmt: skip
    group.add_argument("--seeds", nargs="+", default=[], metavar="INT",
                       help="in place of --seed: run with each of these, and end in a table of "
                       "means and standard deviations")  # fmt: skip


def _train(args: argparse.Namespace) -> None:
    config = read_config(args)
    if config.test_only:
        raise UserError("--test_only: contradicts train; use asd test")
    from asd.jobs.pipeline import train  # loads torch: not before the flags are known to be good
    from asd.jobs.unused import warn_unused

    warn_unused(config, vars(args))
    train(config)


def _test(args: argparse.Namespace) -> None:
    config = read_config(args)
    if config.train_only:
        raise UserError("--train_only: contradicts test; use asd train")
    from asd.jobs.pipeline import test
    from asd.jobs.unused import warn_unused

    warn_unused(config, vars(args))
    test(config)


def _run(args: argparse.Namespace) -> None:
    configs = _run_configs(args)
    from asd.jobs.unused import warn_unused

    for config in {config.model: config for config in configs}.values():
        warn_unused(config, vars(args))
    if args.seeds or len(configs) > 1:
        from asd.jobs.comparison import compare

        compare(configs)
    else:
        from asd.jobs.pipeline import train_and_test

        train_and_test(configs[0])


def _run_configs(args: argparse.Namespace) -> list[Config]:
    """A Config for each system and seed."""
    given = vars(args).copy()
    models, seeds = given.pop("model"), given.pop("seeds")
    if seeds and "seed" in given:
        raise UserError("--seed and --seeds: give the one or the other")
    own_models = [{"model": name} for name in models] or [{}]
    own_seeds = [{"seed": seed} for seed in seeds] or [{}]
    configs = [
        read_config(argparse.Namespace(**given, **model, **seed))
        for model in own_models
        for seed in own_seeds
    ]
    return list(dict.fromkeys(configs))


def _add_summarize(commands: Any) -> None:
    command = add_command(
        commands, "summarize", _summarize, "write and print the summary tables of a data set",
        """
        All systems with results of the data set stand side by side; with --export_dir, only the
        scores of that one. Tables and figures go to
        <results>/{dev,eval}_data/<export_dir>/summarize/<dataset>/.
        """,
    )  # fmt: skip
    command.add_argument("dataset", help="challenge year, such as DCASE2023T2")
    add_split(command)
    add_config(command)
    add_parameters(command, "result_directory", "export_dir")


def _summarize(args: argparse.Namespace) -> None:
    from asd.jobs.summarizing import summarize

    summarize(read_config(args), all_systems="export_dir" not in args)


def _add_embed(commands: Any) -> None:
    command = add_command(
        commands, "embed", _embed, "write the embeddings of clips to a file",
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
        "result_directory", "export_dir", "model_name_suffix", "seed", "channel", "mono",
        "use_cuda", "gpu_id",
    )  # fmt: skip


def _embed(args: argparse.Namespace) -> None:
    config = read_config(args)
    from asd.jobs.embeddings import embed

    embed(config, list(dict.fromkeys(args.parts)), args.out)


def _add_visualize(commands: Any) -> None:
    command = add_command(
        commands, "visualize", _visualize, "draw maps of embeddings and histograms of scores",
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


def _visualize(args: argparse.Namespace) -> None:
    from asd.jobs.visualizing import visualize

    for path in visualize(args.file, args.out, args.method, args.results, args.map_seed):
        print(path)


def _add_import(commands: Any) -> None:
    command = add_command(
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
    add_config(command)
    add_parameters(command, "result_directory", "export_dir")


def _import_baseline(args: argparse.Namespace) -> None:
    from asd.jobs.importing import import_baseline

    for name in import_baseline(args.folder, args.gamma, read_config(args)):
        print(name)
