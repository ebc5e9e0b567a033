"""Commands of the GAN and BiGAN experiments: gan, features export."""

import argparse
from pathlib import Path
from typing import Any

from asd.cli.parsing import (
    Parser,
    add_command,
    add_config,
    add_parameter,
    add_parameters,
    add_split,
    given_parameters,
    read_config,
)
from asd.run_parameters import RunParameters
from asd.schema.parameters import Parameter, parameters_of
from asd.systems.registry import SYSTEMS

_MODELS = {"gan": "GAN", "bigan": "BiGAN"}

_FRAMES_OF = "DCASE2023T2-AE"
"""The system whose frame vectors are written."""

_PUBLISHED = {
    "batch_size": 50, "epochs": 50, "learning_rate": 1e-5, "w": 0.1, "d": 1.0, "methods": ("FM",),
}  # fmt: skip
"""Parameters of the experiment on KDD Cup 99, as published."""
_PUBLISHED_SEED = 42


def add_commands(commands: Any) -> None:
    """Add the commands of the GAN and BiGAN experiments."""
    _add_gan(commands)
    _add_features(commands)


def _add_gan(commands: Any) -> None:
    command = add_command(
        commands, "gan", None, "train and test GAN or BiGAN, in the words of its authors' program",
        """
        examples:
          asd gan bigan dcase run --nb_epochs=50 --w=0.1 --m=fm --d=1 --rd=42
          asd gan bigan kdd run --nb_epochs=50 --m=fm --d=1 --rd=42
        """,
    )  # fmt: skip
    command.add_argument("gan", choices=list(_MODELS), help="the system")
    data = command.add_subparsers(
        title="data to run it on", metavar="DATA", required=True, parser_class=Parser
    )
    _add_gan_dcase(data)
    _add_gan_kdd(data)


def _add_gan_dcase(data: Any) -> None:
    command = add_command(
        data, "dcase", _gan_dcase, "train and test on the machine types of a challenge year",
        "As asd run --model BiGAN, or GAN, does.",
    )  # fmt: skip
    command.add_argument("action", choices=["run"], help="train and test")
    add_split(command, required=False)
    command.set_defaults(split="dev")
    add_config(command)
    for each in (*parameters_of(RunParameters), *_system_parameters()):
        if each.name != "model":
            add_parameter(command, each)


def _system_parameters() -> tuple[Parameter, ...]:
    return parameters_of(SYSTEMS["BiGAN"].parameters_class())


def _add_gan_kdd(data: Any) -> None:
    command = add_command(
        data, "kdd", _gan_kdd, "repeat the published experiment on KDD Cup 99",
        """
        scikit-learn downloads the data. Prints precision, recall and F1 with a fifth of the test
        rows called anomalies. Of several --m the first counts.
        """,
    )  # fmt: skip
    command.add_argument("action", choices=["run"], help="train and test")
    command.set_defaults(split="dev")
    command.add_argument("--unscaled", action="store_true",
                         help="leave the columns as they are, which is what the authors' program "
                         "does; else each is brought to 0 ... 1")  # fmt: skip
    add_config(command)
    add_parameters(command, "use_cuda", "gpu_id")
    for each in (*parameters_of(RunParameters), *_system_parameters()):
        if each.name == "seed":
            add_parameter(command, each, _PUBLISHED_SEED)
        elif each.name in _PUBLISHED:
            add_parameter(command, each, _PUBLISHED[each.name])


def _gan_dcase(args: argparse.Namespace) -> None:
    config = read_config(args, model=_MODELS[args.gan])
    from asd.jobs.pipeline import train_and_test

    train_and_test(config)


def _gan_kdd(args: argparse.Namespace) -> None:
    config = read_config(args, model=_MODELS[args.gan])
    given = given_parameters(args)
    options = {name: getattr(config.system, name) for name in _PUBLISHED if name in given}
    options["seed"] = config.seed if "seed" in given else _PUBLISHED_SEED
    if "methods" in options:
        options["method"] = options.pop("methods")[0]
    from asd.jobs.tables import run_kdd

    found = run_kdd(args.gan, options, scale=not args.unscaled, config=config)
    print(f"precision {found.precision:.4f}  recall {found.recall:.4f}  F1 {found.f1:.4f}")


def _add_features(commands: Any) -> None:
    command = add_command(
        commands, "features", _features, "write frame vectors and labels as .npy files",
        "For programs that want plain arrays: x_train_<machine>_section_<NN>.npy, y_train_...,\n"
        "x_test_..., y_test_... A label is 0 for normal, 1 for anomalous, -1 where not known.",
    )  # fmt: skip
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
    from asd.jobs.tables import export_features

    for path in export_features(read_config(args, model=_FRAMES_OF), args.output):
        print(path)
