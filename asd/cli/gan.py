"""Commands of the GAN and BiGAN experiments: gan, features export."""

import argparse
from pathlib import Path
from typing import Any

from asd.cli.parser import Parser, add_command, add_subcommand
from asd.cli.parsing import (
    add_config,
    add_parameter,
    add_parameters,
    add_split,
    given_parameters,
    read_config,
)
from asd.run_parameters import RunParameters
from asd.schema.parameters import parameters_of
from asd.systems.registry import SYSTEMS

_VECTORS = {"gan": "GAN", "bigan": "BiGAN"}
_IMAGES = {"gan": "GAN-IMAGE", "bigan": "BiGAN-IMAGE"}

_FRAMES_OF = "DCASE2023T2-AE"
"""The system whose frame vectors are written."""

_PUBLISHED = {"epochs": 50, "learning_rate": 1e-5, "w": 0.1, "d": 1.0, "methods": ("FM",)}
KDD_PARAMETERS = {**_PUBLISHED, "batch_size": 50}
"""Parameters of the experiment on KDD Cup 99, as published."""
MNIST_PARAMETERS = {**_PUBLISHED, "batch_size": 100, "cycle": 0.0, "search_steps": 500}
"""Parameters of the experiment on MNIST, as published."""
_PUBLISHED_SEED = 42

_OF_ABLATION = (
    "dataset", "machine_types", "dataset_directory", "feature_directory", "is_auto_download",
    "mono", "seed", "max_fpr", "use_cuda", "gpu_id", "threads",
)  # fmt: skip
"""Parameters of all systems that an ablation heeds; it stores nothing."""


def add_commands(commands: Any) -> None:
    """Add the commands of the GAN and BiGAN experiments."""
    _add_gan(commands)
    _add_features(commands)


def _add_gan(commands: Any) -> None:
    command = add_command(
        commands, "gan", None,
        """
        examples:
          asd gan bigan dcase run --nb_epochs=20 --w=0.1 --m=fm --d=1 --rd=42
          asd gan bigan mnist run --nb_epochs=100 --label=0 --m=fm
          asd gan bigan kdd run --nb_epochs=50 --m=fm --d=1 --rd=42
          asd gan ablate -d --machine_types fan --seeds 1 2 3
        """,
    )  # fmt: skip
    command.before_parsing = lambda _: _add_experiments(command)  # else every start waits for it


def _add_experiments(command: Any) -> None:
    experiments = command.add_subparsers(
        title="system or experiment", metavar="SYSTEM", required=True, parser_class=Parser
    )
    for name, full in (("gan", "GAN"), ("bigan", "BiGAN")):
        system = add_subcommand(experiments, name, None, f"train and test the {full}")
        system.set_defaults(gan=name)
        data = system.add_subparsers(
            title="data to run it on", metavar="DATA", required=True, parser_class=Parser
        )
        _add_gan_dcase(data, name)
        _add_gan_mnist(data, name)
        _add_gan_kdd(data, name)
    _add_ablate(experiments)


def _add_gan_dcase(data: Any, name: str) -> None:
    command = add_subcommand(
        data, "dcase", _gan_dcase, "train and test on the machine types of a challenge year",
        f"""
        As asd run --model {_IMAGES[name]} does, on log-mel images of 64 frames. Then prints how
        well the scores of single images tell anomalies, in the figures that the program prints
        which these networks come from; it calls the first of them AUC.
        """,
    )  # fmt: skip
    command.add_argument("action", choices=["run"], help="train and test")
    command.add_argument("--vectors", action="store_true",
                         help=f"frame vectors, not images: --model {_VECTORS[name]}")  # fmt: skip
    command.add_argument("--published", action="store_true",
                         help="the program's own settings: learning rate 1e-5, decibels times two "
                         "minus one as input, no reconstruction learned; at chance on machine "
                         "sounds")  # fmt: skip
    command.add_argument("--label", type=int, metavar="INT",
                         help="accepted and ignored, as there: the clips' names tell which are "
                         "anomalous")  # fmt: skip
    add_split(command, required=False)
    command.set_defaults(split="dev")
    add_config(command)
    of_systems = {
        each.name: each
        for model in (_IMAGES[name], _VECTORS[name])
        for each in reversed(parameters_of(SYSTEMS[model].parameters_class()))
    }
    for each in (*parameters_of(RunParameters), *reversed(of_systems.values())):
        if each.name != "model":
            add_parameter(command, each)


def _add_published(command: Any, model: str, published: dict[str, Any]) -> None:
    """Add the flags of an experiment that was published, with the published defaults."""
    command.add_argument("action", choices=["run"], help="train and test")
    command.set_defaults(split="dev")
    add_config(command)
    add_parameters(command, "use_cuda", "gpu_id")
    for each in (*parameters_of(RunParameters), *parameters_of(SYSTEMS[model].parameters_class())):
        if each.name == "seed":
            add_parameter(command, each, _PUBLISHED_SEED)
        elif each.name in published:
            add_parameter(command, each, published[each.name])


def _add_gan_mnist(data: Any, name: str) -> None:
    command = add_subcommand(
        data, "mnist", _gan_mnist, "repeat the published experiment on MNIST",
        """
        scikit-learn downloads the data. Prints the area under the precision-recall curve of the
        test images, beside what a score without any information gets. Of several --m the first
        counts. Values are those published, but for what flags say; a YAML file changes none.
        """,
    )  # fmt: skip
    command.add_argument("--label", type=int, default=0, metavar="INT",
                         help="the digit that is taken as anomalous (default: 0)")  # fmt: skip
    command.add_argument("--file", type=Path, metavar="FILE",
                         help="an .npz file with x_train, y_train, x_test, y_test, in place of the "
                         "download")  # fmt: skip
    _add_published(command, _IMAGES[name], MNIST_PARAMETERS)


def _add_gan_kdd(data: Any, name: str) -> None:
    command = add_subcommand(
        data, "kdd", _gan_kdd, "repeat the published experiment on KDD Cup 99",
        """
        scikit-learn downloads the data. Prints precision, recall and F1 with a fifth of the test
        rows called anomalies. Of several --m the first counts. Values are those published, but for
        what flags say; a YAML file changes none.
        """,
    )  # fmt: skip
    command.add_argument("--unscaled", action="store_true",
                         help="leave the columns as they are, which is what the authors' program "
                         "does; else each is brought to 0 ... 1")  # fmt: skip
    _add_published(command, _VECTORS[name], KDD_PARAMETERS)


def _add_ablate(experiments: Any) -> None:
    command = add_subcommand(
        experiments, "ablate", _ablate, "measure what the BiGAN's adversary adds to its detection",
        """
        Trains a BiGAN four times for each machine type, section and seed: with the adversary
        alone (as published), with the reconstruction alone, with both, and not at all. Prints the
        test clips' AUC of each. Nothing is stored.
        """,
    )  # fmt: skip
    command.add_argument("--seeds", nargs="+", type=int, metavar="INT",
                         help="random seeds to take the means over (default: --seed)")  # fmt: skip
    command.add_argument("--images", action="store_true",
                         help="log-mel images, not frame vectors (slow without a GPU)")  # fmt: skip
    add_split(command)
    add_config(command)
    for each in parameters_of(RunParameters):
        if each.name in _OF_ABLATION:
            add_parameter(command, each)
    for each in parameters_of(SYSTEMS["BiGAN"].parameters_class()):
        add_parameter(command, each)


def _gan_dcase(args: argparse.Namespace) -> None:
    from asd.systems.gan.parameters import IMAGES_AS_PUBLISHED

    model = (_VECTORS if args.vectors else _IMAGES)[args.gan]
    changes = {}
    if args.published:
        own = {each.name for each in parameters_of(SYSTEMS[model].parameters_class())}
        given = given_parameters(args)
        changes = {
            name: str(value)
            for name, value in IMAGES_AS_PUBLISHED.items()
            if name in own and name not in given
        }
    config = read_config(args, model=model, **changes)
    from asd.jobs.pipeline import train_and_test
    from asd.jobs.tables import single_images

    train_and_test(config)
    if not config.train_only:
        for name, figures in single_images(config):
            print(f"{name}: {figures}")


def _published_options(args: argparse.Namespace, model: str, published: dict[str, Any]) -> Any:
    """The config, and the options in which flags differ from what was published."""
    config = read_config(args, model=model)
    given = given_parameters(args)
    options = {name: getattr(config.system, name) for name in published if name in given}
    options["seed"] = config.seed if "seed" in given else _PUBLISHED_SEED
    if "methods" in options:
        options["method"] = options.pop("methods")[0]
    return config, options


def _gan_mnist(args: argparse.Namespace) -> None:
    config, options = _published_options(args, _IMAGES[args.gan], MNIST_PARAMETERS)
    from asd.jobs.tables import run_mnist

    print(run_mnist(args.gan, options, args.label, args.file, config))


def _gan_kdd(args: argparse.Namespace) -> None:
    config, options = _published_options(args, _VECTORS[args.gan], KDD_PARAMETERS)
    from asd.jobs.tables import run_kdd

    found = run_kdd(args.gan, options, scale=not args.unscaled, config=config)
    print(f"precision {found.precision:.4f}  recall {found.recall:.4f}  F1 {found.f1:.4f}")


def _ablate(args: argparse.Namespace) -> None:
    config = read_config(args, model=_IMAGES["bigan"] if args.images else _VECTORS["bigan"])
    from asd.jobs.tables import ablate, ablation_table

    print(ablation_table(list(ablate(config, args.seeds or [config.seed]))))


def _add_features(commands: Any) -> None:
    command = add_command(
        commands, "features", _features,
        "For programs that want plain arrays: x_train_<machine>_section_<NN>.npy, y_train_...,\n"
        "x_test_..., y_test_... A label is 0 for normal, 1 for anomalous, -1 where not known.",
    )  # fmt: skip
    command.before_parsing = lambda _: _add_features_flags(command)


def _add_features_flags(command: Any) -> None:
    command.add_argument("--images", action="store_true",
                         help="images of 64 frames, 8 frames apart, where nothing else is said, "
                         "under the names that a known BiGAN program reads: "
                         "x_train_<machine>_section_<N>.npy, "
                         "x_test_<machine>_section_<NN>_<domain>.npy")  # fmt: skip
    command.add_argument("action", choices=["export"], help="write the files")
    command.add_argument("--output", type=Path, default=Path("features"), metavar="FOLDER",
                         help="where to (default: features)")  # fmt: skip
    add_split(command)
    add_config(command)
    for each in (
        *parameters_of(RunParameters),
        *parameters_of(SYSTEMS[_FRAMES_OF].parameters_class()),
    ):
        if each.role in ("data", "features"):
            add_parameter(command, each)


def _features(args: argparse.Namespace) -> None:
    given = given_parameters(args)
    size = {"frames": "64", "frame_hop_length": "8"} if args.images else {}
    size = {name: text for name, text in size.items() if name not in given}
    config = read_config(args, model=_FRAMES_OF, **size)
    from asd.jobs.tables import export_features, export_images

    export = export_images if args.images else export_features
    for path in export(config, args.output):
        print(path)
