"""Take over what the public baseline trained: weights, score distributions, parameters."""

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from asd.archives import load_archive
from asd.challenge.catalog import load_challenge, split_dataset_name
from asd.config import Config
from asd.detector import Detector, TrainingFacts
from asd.errors import UserError
from asd.files import write_json
from asd.jobs.jobs import ModelFolder
from asd.jobs.pickled_numbers import MOST_BYTES, RefusedError, read_numbers
from asd.schema.parameters import parameters_of, plain
from asd.systems.autoencoder.network import AutoencoderNetwork
from asd.systems.autoencoder.parameters import AutoencoderParameters
from asd.systems.base import State
from asd.systems.registry import find_system

log = logging.getLogger(__name__)

_NAME = re.compile(
    r"(?P<model>[^_]+)_(?P<dataset>DCASE[0-9]{4}T2[^_]+)(?:_(?P<tag>.+?))?(?P<eval>_Eval)?"
    r"_seed(?P<seed>[0-9]+)"
)
_SYSTEM = "DCASE2023T2-AE"
_SCORES = {"mse": "MSE", "mahala": "MAHALA"}
_GAMMA = ("shape", "loc", "scale")


def import_baseline(folder: Path, gamma_file: Path | None, config: Config) -> list[str]:
    """Store the models in the public baseline's `folder` as ours, below the result folder.

    Parameters
    ----------
    folder
        models/saved_model/<export_dir> of the public program.
    gamma_file
        JSON file: model name -> "mse" and "mahala" -> "shape", "loc", "scale"; in place of the
        score_distr_*.pickle files in `folder`.
    config
        Where to store.

    Returns
    -------
    list of str
        Names of the models.

    Raises
    ------
    UserError
        There is no model, or a file can't be read or is not what it should be.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder models/saved_model/<name>")
    files = sorted(folder.glob("*.pth"))
    if not files:
        raise UserError(f"{folder}: no .pth file in it; give the folder models/saved_model/<name>")
    gammas = _read_json(gamma_file) if gamma_file else None
    # All are read before any is stored: a bad one leaves nothing half imported.
    detectors = {file.stem: _read_model(file, gammas) for file in files}
    for name, detector in detectors.items():
        target = ModelFolder(config.result_directory / "models" / config.export_dir / name)
        described = {**plain(detector.facts), **plain(detector.parameters)}
        write_json(target.parameters, described)
        detector.save(target.model)
    log.info("%d model(s) stored in %s", len(files), config.result_directory / "models")
    return list(detectors)


def _read_model(file: Path, gammas: Mapping[str, Any] | None) -> Detector:
    match = _NAME.fullmatch(file.stem)
    if not match:
        raise UserError(
            f"{file}: not a model name of the public baseline; expected one like "
            "DCASE2023T2-AE_DCASE2023T2fan_id(0_)_seed13711.pth"
        )
    dataset, machine = split_dataset_name(match["dataset"])
    weights = _read_weights(file)
    block = len(weights["cov_source"])
    frames = weights["encoder.0.weight"].shape[1] // block
    parameters = AutoencoderParameters(**{"n_mels": block, "frames": frames, **_read_args(file)})
    detector = Detector.create(find_system(_SYSTEM), parameters)
    detector.system.load_state({"network": weights, "batch_scores": {}, "normal_scores": None})
    # The public program does not say which sampling rate it was trained at.
    detector.facts = TrainingFacts(
        dataset=dataset,
        split="eval" if match["eval"] else "dev",
        year=load_challenge(dataset).year,
        machines=(machine,),
        seed=int(match["seed"]),
        given=tuple(each.key for each in parameters_of(AutoencoderParameters)),
    )
    if gammas is None:
        fits = {name: _read_pickle(file, key) for key, name in _SCORES.items()}
    else:
        fits = _gammas(gammas, file)
    detector.gammas = {machine: {"batch": fits}}
    return detector


def _read_weights(file: Path) -> State:
    try:
        weights = load_archive(file, "copy it again")
    except (UserError, OSError):
        raise UserError(f"{file}: is damaged or no file of weights; copy it again") from None
    try:
        size = sum(t.numel() * t.element_size() for t in weights.values())
        input_dim, mels = weights["encoder.0.weight"].shape[1], len(weights["cov_source"])
        # A tensor may claim more values than the file has.
        if size > file.stat().st_size or input_dim % mels:
            raise ValueError
        network = AutoencoderNetwork(input_dim, mels)
        network.load_state_dict(weights)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        raise UserError(f"{file}: is no autoencoder of the public baseline v5.1.1") from None
    for name, values in network.state_dict().items():
        if not bool(torch.isfinite(values).all()):
            raise UserError(
                f"{file}: {name} has values that are not finite, so all scores would be; "
                "copy it again, or train that model anew"
            )
    return network.state_dict()


def _read_args(file: Path) -> dict[str, Any]:
    """Parameters from the public program's args.json, where it is."""
    args_file = file.parents[2] / "checkpoint" / file.parent.name / file.stem / "args.json"
    if not args_file.is_file():
        return {}
    given = _read_json(args_file)
    read = {}
    for each in parameters_of(AutoencoderParameters):
        if each.is_fixed and each.name in given:
            try:
                read[each.name] = each.convert(given[each.name])
            except ValueError as error:
                raise UserError(
                    f"{args_file}: {each.name}: expected {error}, got {given[each.name]!r}"
                ) from None
    return read


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected a JSON object")
    return content


def _gammas(gammas: Mapping[str, Any], file: Path) -> dict[str, list[float]]:
    if file.stem not in gammas:
        raise UserError(f"--gamma: has no entry for {file.stem}; add it or remove {file.name}")
    entry = gammas[file.stem]
    fits = {}
    for key, name in _SCORES.items():
        try:
            if key not in entry:
                continue
            values = [entry[key][number] for number in _GAMMA]
            if not all(type(value) in (int, float) for value in values):
                raise TypeError
            fits[name] = [float(value) for value in values]
        except (KeyError, TypeError, OverflowError):
            raise UserError(
                f"--gamma: the entry for {file.stem} lacks a number for shape, loc or scale"
            ) from None
        _check_gamma(fits[name], f"--gamma: {file.stem}: {key}")
    return fits


def _check_gamma(values: Sequence[float], place: str) -> None:
    """Refuse numbers that no gamma distribution has."""
    for number, value in zip(_GAMMA, values, strict=True):
        if not math.isfinite(value) or (number != "loc" and value <= 0):
            wanted = "a number" if number == "loc" else "a number above 0"
            raise UserError(f"{place}: {number} is {value}, expected {wanted}; give the right one")


def _read_pickle(file: Path, key: str) -> list[float]:
    path = file.with_name(f"score_distr_{file.stem}_{key}.pickle")
    if not path.is_file():
        raise UserError(f"{path}: no such file; copy it here or give the numbers with --gamma")
    try:
        with path.open("rb") as stream:
            values = read_numbers(stream.read(MOST_BYTES + 1))
        if len(values) != len(_GAMMA):
            raise ValueError
    except RefusedError as error:
        raise UserError(
            f"{path}: wants to load {error}, and only numbers are read from pickles; "
            "give the numbers with --gamma"
        ) from None
    except ValueError:
        raise UserError(f"{path}: is no pickled list of three numbers; copy it again") from None
    _check_gamma(values, str(path))
    return values
