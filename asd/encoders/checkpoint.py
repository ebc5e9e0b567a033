"""Files of pretrained weights: what they hold is told by the arrays in them; nothing is run."""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from torch import Tensor

from asd.encoders.beats import Beats, BeatsSettings
from asd.encoders.eat import Eat, own_names
from asd.encoders.efficientat import EfficientAt
from asd.encoders.network import EncoderNetwork
from asd.encoders.openl3 import OpenL3
from asd.encoders.panns import Cnn14
from asd.encoders.weights import settings_beside
from asd.errors import UserError

_AGAIN = "get it again (asd weights list), or name another"


def read_network(path: Path) -> EncoderNetwork:
    """The encoder in a file, in float32 on the CPU, ready to embed.

    Raises
    ------
    UserError
        The file cannot be read, or holds something else than an encoder that is known.
    """
    content = read_checkpoint(path)
    weights = _arrays(content.get("model", content))
    try:
        network = _network(content, weights, path)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path}: looks like an encoder, but its arrays do not fit together ({reason}); "
            f"{_AGAIN}"
        ) from None
    for name, values in network.state_dict().items():
        if not bool(torch.isfinite(values).all()):
            raise UserError(f"{path}: {name} holds values that are not finite; {_AGAIN}")
    return network.eval().requires_grad_(False)


def network_class(path: Path) -> type[EncoderNetwork]:
    """The architecture of an encoder in a file, whose arrays are not looked at.

    Raises
    ------
    UserError
        As `read_network`, but for arrays that do not fit together.
    """
    content = read_checkpoint(path)
    return _class(_arrays(content.get("model", content)), path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a file of weights holds: safetensors, or what torch.save wrote of tensors and numbers.

    Raises
    ------
    UserError
        It is missing, damaged, or holds objects that would have to be run.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights; check the path")
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its rights") from None
    try:
        content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    except MemoryError:
        raise
    except Exception as error:  # torch, zipfile and safetensors raise many kinds
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise UserError(
                f"{path}: holds something else than tensors and numbers ({refused[1]}), which is "
                f"not read; {_AGAIN}"
            ) from None
        raise UserError(f"{path}: is damaged or no file of weights; {_AGAIN}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no arrays by name; {_AGAIN}")
    return content


def _torch(path: Path) -> Any:
    with torch.serialization.safe_globals([*_numpy_numbers(), *_paths()]), catch_warnings():
        simplefilter("ignore")  # of pickles that are refused anyway
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:  # of before torch 1.6
            if "mmap can only be used" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True)


def _numpy_numbers() -> list[Any]:
    """What NumPy's scalars are made of, which fairseq leaves among the facts of its training.

    Their maker goes by the names of NumPy 1 and 2.
    """
    maker = np.float64(0).__reduce__()[0]
    makers = [(maker, f"numpy.{home}.multiarray.scalar") for home in ("core", "_core")]
    kinds = [np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType]
    return [*makers, np.dtype, *kinds]


def _paths() -> list[Any]:
    """The class of paths, which Lightning leaves among its hyperparameters; it opens nothing."""
    return [(PurePosixPath, f"{home}.PosixPath") for home in ("pathlib", "pathlib._local")]


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file  # only some files need it

    return load_file(path)


def _arrays(entries: Any) -> dict[str, Any]:
    return dict(entries) if isinstance(entries, Mapping) else {}


def _network(content: Mapping[str, Any], weights: dict[str, Any], path: Path) -> EncoderNetwork:
    found = _class(weights, path)
    if found is Beats:
        return Beats(_stored_whole(weights), _beats_settings(content.get("cfg")))
    if found is Eat:
        heads, epsilon = _eat_settings(content, path)
        return Eat(_stored_whole(own_names(weights)), heads, epsilon)
    return found(_stored_whole(weights))  # type: ignore[arg-type, call-arg]


def _class(weights: Mapping[str, Any], path: Path) -> type[EncoderNetwork]:
    names = tuple(weights)
    if "patch_embedding.weight" in weights and any("quantize" in name for name in names):
        raise UserError(f"{path}: is a tokenizer of BEATs; name a file such as BEATs_iter3.pt")
    if "patch_embedding.weight" in weights:
        return Beats
    if any(name.endswith("local_encoder.proj.weight") for name in names):
        return Eat
    if "features.0.0.weight" in weights and "features.16.0.weight" in weights:
        return EfficientAt
    if "conv_block6.conv2.weight" in weights and "fc1.weight" in weights:
        return Cnn14
    if "audio_embedding_layer.weight" in weights:
        return OpenL3
    raise UserError(
        f"{path}: is no checkpoint of BEATs, EAT, EfficientAT (mn), CNN14 or OpenL3; name one of "
        "those"
    )


def _stored_whole(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arrays as float32; a tensor may claim more values than the file has."""
    found = {}
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} is no array")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{name} is larger than what is stored of it")
        found[name] = value.float() if value.is_floating_point() else value
    return found


def _beats_settings(cfg: Any) -> BeatsSettings:
    """What the configuration says; numbers of other kinds than the defaults' are converted."""
    given = cfg if isinstance(cfg, Mapping) else {}
    usual = vars(BeatsSettings())
    return BeatsSettings(**{n: type(v)(given[n]) for n, v in usual.items() if n in given})


def _eat_settings(content: Mapping[str, Any], path: Path) -> tuple[int | None, float]:
    """Attention heads and epsilon, from the checkpoint or from config.json beside it."""
    cfg = content.get("cfg")
    model = cfg.get("model") if isinstance(cfg, Mapping) else None
    if isinstance(model, Mapping) and isinstance(model.get("d2v_multi"), Mapping):  # fine-tuned
        model = model["d2v_multi"]
    beside = settings_beside(path)
    if not isinstance(model, Mapping) and path.suffix == ".safetensors" and beside.is_file():
        try:
            model = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{beside}: cannot be read as JSON ({error})") from None
    settings = model if isinstance(model, Mapping) else {}
    heads = settings.get("num_heads")
    return (int(heads) if heads else None), float(settings.get("norm_eps", 1e-6))
