"""All parameters: name, type, default, meaning and limits, each in one place.

`Parameters` is the owner. The command line makes its flags and help from it, config.py reads YAML
against it, and the values that a model was trained with are stored by these names.
"""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

Check = Callable[[Any], str | None]
"""Gives None for a good value, else what was expected."""


def _at_least(low: float) -> Check:
    return lambda value: None if value >= low else f"{low:g} or more"


def _positive(value: float) -> str | None:
    return None if value > 0 else "a number above 0"


def _fraction(value: float) -> str | None:
    return None if 0 < value < 1 else "a number between 0 and 1, neither included"


def _share(value: float) -> str | None:
    return None if 0 <= value <= 1 else "a number from 0 to 1"


def _methods(values: tuple[str, ...]) -> str | None:
    good = values and all(value.upper() in ("CROSS-E", "FM") for value in values)
    return None if good else "cross-e, fm, or both"


def _max_fpr(value: float) -> str | None:
    return None if 0 < value <= 1 else "a number above 0 and at most 1"


def _seed(value: int) -> str | None:
    return None if 0 <= value < 2**32 else f"0 to {2**32 - 1}"


def _name_part(value: str) -> str | None:
    return "a text without /" if "/" in value else None


def _folder_name(value: str) -> str | None:
    return None if value and "/" not in value else "a folder's name, without /"


@dataclass(frozen=True)
class _OneOf:
    choices: tuple[str, ...]

    def __call__(self, value: str) -> str | None:
        return None if value in self.choices else f"one of {', '.join(self.choices)}"


def _one_of(*choices: str) -> Check:
    return _OneOf(choices)


def _parameter(
    default: Any,
    group: str,
    meaning: str,
    check: Check | None = None,
    *flags: str,
    placeholder: str = "",
) -> Any:
    metadata = {
        "group": group,
        "meaning": meaning,
        "check": check,
        "flags": flags,
        "placeholder": placeholder,
    }
    return field(default=default, metadata=metadata)


# ruff: noqa: RUF009 - _parameter makes dataclass fields
@dataclass(frozen=True)
class Parameters:
    """Every parameter of a run; names and defaults are the official ones where there are any."""

    dataset: str = _parameter(
        "DCASE2023T2", "data",
        "challenge year, DCASE2020T2 to DCASE2026T2; a machine type may be appended",
    )  # fmt: skip
    machine_types: tuple[str, ...] = _parameter(
        (), "data", "machine types to work on (default: all of the data set)"
    )
    use_ids: tuple[int, ...] = _parameter(
        (), "data",
        "train one model per machine type on these sections together (default: one model per "
        "section)",
    )  # fmt: skip
    dataset_directory: Path = _parameter(
        Path("data"), "data", "folder of the data sets: <this>/dcase2023t2/dev_data/raw/..."
    )
    result_directory: Path = _parameter(
        Path("results"), "data", "folder for models, logs, scores, tables and figures"
    )
    feature_directory: Path | None = _parameter(
        None, "data", "folder for computed features (default: processed/ beside the raw data)"
    )
    export_dir: str = _parameter(
        "baseline", "data", "name of this system's folders below the result folder", _folder_name
    )
    model_name_suffix: str = _parameter(
        "", "data", "text in file names that tells models apart (default: id(0_) and so on)",
        _name_part, "-tag", "--model_name_suffix", placeholder="TEXT",
    )  # fmt: skip
    is_auto_download: bool = _parameter(False, "data", "download missing data")
    mono: bool | None = _parameter(
        None, "data",
        "True: files must have one channel; False: two, of which --channel is used; "
        "null: as the challenge year says",
    )  # fmt: skip
    channel: str = _parameter(
        "left", "data",
        "channel of files with two: left, right, or mix (their mean); a system hears one, so "
        "for two run twice, with other --export_dir",
        _one_of("left", "right", "mix"),
    )  # fmt: skip

    model: str = _parameter(
        "DCASE2023T2-AE", "system",
        "the system: DCASE2023T2-AE, ae (the same, beside others), BiGAN, GAN, a recipe "
        "(dis_multispec_scac_trainable, dis_spec_adacos_fixed, dis_spec_adacos_fixed_wo_mixup, "
        "dis_spec_featex, dis_spec_scac_fixed, dis_spec_scac_trainable, dis_spec_subspaceloss, "
        "raw_spec) or the path of a recipe of your own, which ends in .yaml",
    )  # fmt: skip
    score: str = _parameter(
        "MSE", "system",
        "anomaly score for testing, or the word all: DCASE2023T2-AE and ae have MSE, "
        "MAHALA and MAHALA-FRAME, GAN and BiGAN have CROSS-E and FM, a recipe has its backends "
        "(default: MSE for DCASE2023T2-AE, all for the others)",
    )  # fmt: skip
    seed: int = _parameter(13711, "system", "random seed", _seed, "--rd", "--seed")
    use_cuda: bool = _parameter(True, "system", "train and score on a CUDA device if there is one")
    gpu_id: tuple[int, ...] = _parameter((0,), "system", "number of the CUDA device")
    jobs: int = _parameter(
        0, "system", "models to train at the same time (0: chosen for this machine)", _at_least(0)
    )
    cluster: str | None = _parameter(
        None, "system",
        "train on the workers of this Dask scheduler, such as tcp://10.0.0.5:8786 (they need asd, "
        "and data and results at the same paths)", placeholder="ADDRESS",
    )  # fmt: skip
    log_interval: int = _parameter(
        100, "system", "accepted for the official baseline.yaml; progress is shown anyway",
        _at_least(1),
    )  # fmt: skip

    decision_threshold: float = _parameter(
        0.9, "decision",
        "a clip is decided anomalous if its score is above this quantile of normal scores",
        _fraction,
    )  # fmt: skip
    threshold_fit: str = _parameter(
        "batch", "decision",
        "normal scores that the quantile is taken of: batch (scores of training batches, as the "
        "official baseline does) or clip (scores of training clips)",
        _one_of("batch", "clip"),
    )  # fmt: skip
    mahalanobis: str = _parameter(
        "mean", "decision",
        "distance in the score MAHALA: mean (of a clip's mean difference, as the official "
        "baseline does) or frame (mean over frames of each one's own, the textbook form; its "
        "results are named MAHALA-FRAME)",
        _one_of("mean", "frame"),
    )  # fmt: skip
    max_fpr: float = _parameter(0.1, "decision", "pAUC is taken up to this false positive rate",
                                _max_fpr)  # fmt: skip

    n_mels: int = _parameter(128, "features", "number of mel bands", _at_least(1))
    frames: int = _parameter(5, "features", "frames in a feature vector", _at_least(1))
    frame_hop_length: int = _parameter(
        1, "features", "frames between feature vectors", _at_least(1)
    )
    n_fft: int = _parameter(1024, "features", "length of the Fourier transform in samples",
                            _at_least(2))  # fmt: skip
    hop_length: int = _parameter(512, "features", "samples between frames", _at_least(1))
    power: float = _parameter(
        2.0, "features", "exponent of the magnitudes: 1 amplitude, 2 power", _positive
    )
    fmin: float = _parameter(0.0, "features", "lowest frequency in Hz", _at_least(0))
    fmax: float | None = _parameter(
        None, "features", "highest frequency in Hz (null: half the sampling rate)", _positive
    )
    win_length: int | None = _parameter(
        None, "features", "window length in samples (null: n_fft)", _at_least(1)
    )

    batch_size: int = _parameter(256, "training", "feature vectors per training step", _at_least(2))
    epochs: int = _parameter(
        100, "training", "passes over the training data", _at_least(1), "--nb_epochs", "--epochs"
    )
    learning_rate: float = _parameter(
        0.001, "training", "step size of Adam", _positive, "-lr", "--learning_rate"
    )
    shuffle: bool = _parameter(True, "training", "draw the training vectors in a new order each "
                               "epoch")  # fmt: skip
    precision: str = _parameter(
        "float32", "training",
        "float32, or bfloat16 for the products in training, faster in large batches on processors "
        "that have it (autoencoder; losses stay within the spread over seeds)",
        _one_of("float32", "bfloat16"),
    )  # fmt: skip
    validation_split: float = _parameter(
        0.1, "training", "share of feature vectors held out for val_loss", _fraction
    )
    w: float = _parameter(
        0.1, "gan", "share of the discriminator's term in the score; the rest is reconstruction",
        _share,
    )  # fmt: skip
    d: float = _parameter(
        1.0, "gan", "degree of the norms in the score: 1 sums differences, 2 is Euclidean",
        _positive,
    )  # fmt: skip
    methods: tuple[str, ...] = _parameter(
        ("CROSS-E", "FM"), "gan",
        "the discriminator's term: cross-e (cross entropy), fm (feature matching) or both",
        _methods, "--m", "--methods", placeholder="{cross-e,fm}",
    )  # fmt: skip
    network: str = _parameter(
        "frames", "gan", "layer sizes: frames, or kdd (those published for KDD Cup 99)",
        _one_of("frames", "kdd"),
    )  # fmt: skip
    latent_dim: int | None = _parameter(
        None, "gan", "width of the latent vector (null: the network's own, 32)", _at_least(1)
    )
    search_steps: int = _parameter(
        500, "gan", "steps of the GAN's search for a latent vector when scoring", _at_least(1)
    )
    score_hop_length: int | None = _parameter(
        None, "gan", "frames between scored vectors (null: frame_hop_length)", _at_least(1)
    )
    threshold_clips: int | None = _parameter(
        None, "gan", "training clips scored for the decision threshold (null: all)", _at_least(1)
    )

    restart: bool = _parameter(
        False, "training", "go on from the last checkpoint of an interrupted training"
    )
    checkpoint_path: Path | None = _parameter(
        None, "training", "with --restart: the checkpoint to go on from", placeholder="FILE"
    )
    tensorboard: Path | None = _parameter(
        None, "training", "folder for TensorBoard's files of the losses (needs asd[tensorboard])"
    )
    train_only: bool = _parameter(False, "training", "train, do not test")
    test_only: bool = _parameter(False, "training", "test, do not train")


SWITCHES = ("restart", "train_only", "test_only")
"""Parameters whose flag takes no value."""

FEATURE_PARAMETERS = (
    "n_mels", "frames", "frame_hop_length", "n_fft", "hop_length", "power", "fmin", "fmax",
    "win_length", "channel",
)  # fmt: skip
"""What a model must be tested with as it was trained."""


def parameter_fields() -> tuple[Field[Any], ...]:
    """All parameters in order."""
    return fields(Parameters)


def flags_of(parameter: Field[Any]) -> tuple[str, ...]:
    """Spellings of a parameter on the command line, the official YAML key among them."""
    return tuple(parameter.metadata["flags"]) or (f"--{parameter.name}",)


def placeholder_of(parameter: Field[Any]) -> str:
    """What stands for a value in help: "{a,b}" where only some will do, else its kind."""
    own: str = parameter.metadata["placeholder"]
    check = parameter.metadata["check"]
    if isinstance(check, _OneOf):
        return f"{{{','.join(check.choices)}}}"
    kind = _KINDS[parameter.name]
    return own or _PLACEHOLDERS[_ITEMS.get(kind) or _OPTIONAL.get(kind) or kind]


def convert(parameter: Field[Any], value: Any) -> Any:
    """Turn what YAML or the command line gave into the parameter's type.

    Raises
    ------
    ValueError
        With what was expected.
    """
    kind = _KINDS[parameter.name]
    converted = _convert(kind, value)
    check = parameter.metadata["check"]
    if check and converted is not None and (expected := check(converted)):
        raise ValueError(expected)
    return converted


def _convert(kind: Any, value: Any) -> Any:
    if kind in _OPTIONAL:
        is_none = value is None or str(value).lower() in ("none", "null", "")
        return None if is_none else _convert(_OPTIONAL[kind], value)
    if kind in _ITEMS:
        return tuple(_convert(_ITEMS[kind], one) for one in _listed(value))
    return _CONVERTERS[kind](value)


def _listed(value: Any) -> Sequence[Any]:
    """A list as it stands; the words of one text, as in the line "--machine_types: fan ToyCar"."""
    if isinstance(value, str):
        return value.split()
    if isinstance(value, Sequence):
        return value
    return () if value is None else (value,)


def _to_int(value: Any) -> int:
    try:
        if not isinstance(value, bool) and (number := float(value)).is_integer():
            return int(number)
    except (TypeError, ValueError):
        pass
    raise ValueError("a whole number")


def _to_float(value: Any) -> float:
    try:
        if not isinstance(value, bool) and math.isfinite(number := float(value)):
            return number
    except (TypeError, ValueError):
        pass
    raise ValueError("a number")


def _to_bool(value: Any) -> bool:
    # "full" and "simple" are what the official --shuffle also takes.
    words = {"true": True, "1": True, "yes": True, "on": True, "full": True, "simple": True,
             "false": False, "0": False, "no": False, "off": False}  # fmt: skip
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError("True or False") from None


def _to_text(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    if value is None:
        return ""
    raise ValueError("a text")


def _to_path(value: Any) -> Path:
    if text := str(value) if isinstance(value, Path) else _to_text(value):
        return Path(os.path.expanduser(text))
    raise ValueError("a path")


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    int: _to_int,
    float: _to_float,
    bool: _to_bool,
    str: _to_text,
    Path: _to_path,
}
_OPTIONAL: dict[Any, Any] = {
    int | None: int,
    float | None: float,
    bool | None: bool,
    Path | None: Path,
    str | None: str,
}
_ITEMS: dict[Any, Any] = {tuple[int, ...]: int, tuple[str, ...]: str}
_PLACEHOLDERS = {int: "INT", float: "FLOAT", bool: "BOOL", str: "NAME", Path: "FOLDER"}
_KINDS = get_type_hints(Parameters)
