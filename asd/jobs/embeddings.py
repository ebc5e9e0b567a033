"""Embeddings of clips in a file: made with a trained model, and read again."""

import itertools
import logging
import math
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.clips import Clip
from asd.config import Config
from asd.errors import UserError
from asd.files import write_aside
from asd.jobs.data import Part, check_dataset, machine_clips
from asd.jobs.jobs import plan_jobs
from asd.jobs.testing import load_detector
from asd.threads import thread_count
from asd.words import is_plain_name

log = logging.getLogger(__name__)

Texts = NDArray[np.str_]


@dataclass(frozen=True)
class EmbeddedClips:
    """Embeddings and what is known about their clips: the arrays of an .npz file.

    Parameters
    ----------
    embeddings
        Shape (clips, dim), float32.
    machine, section, domain, attributes, file_name
        Text per clip, shape (clips,).
    label
        "normal", "anomaly" or, where it is not known, "unknown"; shape (clips,).
    part
        "train" or "test", shape (clips,).
    export_dir, dataset, split, seed
        What the model's result files are named by, shape () each.
    """

    embeddings: NDArray[np.float32]
    machine: Texts
    section: Texts
    domain: Texts
    label: Texts
    attributes: Texts
    file_name: Texts
    part: Texts
    export_dir: Texts
    dataset: Texts
    split: Texts
    seed: NDArray[np.int64]

    def select(self, chosen: NDArray[np.bool_]) -> "EmbeddedClips":
        """Only some of the clips; `chosen` has shape (clips,)."""
        return EmbeddedClips(
            **{name: array[chosen] if array.ndim else array for name, array in vars(self).items()}
        )

    def save(self, path: Path) -> None:
        """Write the arrays to an .npz file, whole or not at all.

        Raises
        ------
        UserError
            The folder cannot be written to.
        """
        with write_aside(path) as aside, aside.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **vars(self))


def load_embeddings(path: Path) -> EmbeddedClips:
    """Read what `EmbeddedClips.save` wrote.

    Raises
    ------
    UserError
        There is no such file, it lacks an array, or an array does not hold what it should.
    """
    try:
        _check_sizes(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write it with asd embed") from None
    except Exception:  # numpy and zipfile raise many kinds for a damaged file
        raise UserError(f"{path}: cannot be read as .npz; write it again with asd embed") from None
    if fault := _fault(arrays):
        raise UserError(f"{path}: {fault}; write it again with asd embed")
    return EmbeddedClips(**{name: arrays[name] for name in _SHAPES})


def _check_sizes(path: Path) -> None:
    """Refuse arrays that claim to be larger than the file says: memory is taken by the claim."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0
                if version > (1, 0):
                    read = np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
                if math.prod(shape) * dtype.itemsize != member.file_size - stream.tell():
                    raise ValueError(f"{member.filename} has another size than its header says")


_SHAPES = {field.name: 1 for field in fields(EmbeddedClips)} | {
    "embeddings": 2, "export_dir": 0, "dataset": 0, "split": 0, "seed": 0,
}  # fmt: skip
"""Number of dimensions of each array."""

_VALUES = {
    "part": ("train", "test"),
    "label": ("normal", "anomaly", "unknown"),
    "split": ("dev", "eval"),
}


def _fault(arrays: Mapping[str, NDArray[Any]]) -> str:
    """What is wrong with the arrays of a file, "" if nothing is."""
    for name, dimensions in _SHAPES.items():
        kinds = {"embeddings": "f", "seed": "iu"}.get(name, "U")
        if name not in arrays:
            return f"array {name!r} is missing"
        if arrays[name].ndim != dimensions or arrays[name].dtype.kind not in kinds:
            found = f"{arrays[name].dtype} of shape {arrays[name].shape}"
            return f"array {name!r} has {dimensions} dimensions in such a file, here it is {found}"
        if dimensions and len(arrays[name]) != len(arrays["embeddings"]):
            return "arrays differ in length"
    if not arrays["embeddings"].size:
        return "there are no embeddings in it"
    finite = np.isfinite(arrays["embeddings"]).all(axis=1)
    if not finite.all():
        first = arrays["file_name"][~finite][0]
        return f"{(~finite).sum()} embeddings are not finite, the first is that of {first}"
    for name, values in _VALUES.items():
        if not np.isin(arrays[name], values).all():
            return f"array {name!r} holds other words than {', '.join(values)}"
    for section in np.unique(arrays["section"]):
        if not re.fullmatch("[0-9]{1,9}", section):
            return f"array 'section' holds {str(section)!r}, which is no number"
    for machine in np.unique(arrays["machine"]):
        if not is_plain_name(str(machine)):
            return f"machine type {str(machine)!r} is no name that a file can have"
    return ""


def embed(config: Config, parts: Sequence[Part], out: Path) -> None:
    """Write the embeddings of training clips, test clips or both to `out`.

    Raises
    ------
    UserError
        The system has no embeddings, its model is missing or was trained with other parameters,
        or the clips can't be used.
    """
    if out.suffix != ".npz":
        raise UserError(f"--out: {out} must end in .npz")
    embedder = getattr(config.entry.system_class(), "embed", None)
    if embedder is None:
        raise UserError(f"--model: {config.entry.label} has no embeddings; choose a recipe")
    check_dataset(config)
    (job,) = plan_jobs(config)  # a model of the whole challenge: there is one
    system = load_detector(job).system
    tables = []
    for part, machine in itertools.product(parts, job.machines):
        clips = machine_clips(config, machine, part, thread_count(config.threads))
        tables.append({"embeddings": embedder(system, clips), **_columns(clips, part)})
    found = EmbeddedClips(
        export_dir=np.array(config.export_dir),
        dataset=np.array(config.dataset),
        split=np.array(config.split),
        seed=np.array(config.seed),
        **{name: np.concatenate([table[name] for table in tables]) for name in tables[0]},
    )
    found.save(out)
    log.info("%s: %d embeddings of %d values", out, *found.embeddings.shape)


def _columns(clips: Sequence[Clip], part: Part) -> dict[str, NDArray[np.str_]]:
    return {
        "machine": np.array([clip.machine for clip in clips]),
        "section": np.array([clip.section for clip in clips]),
        "domain": np.array([clip.domain for clip in clips]),
        "label": np.array([clip.label or "unknown" for clip in clips]),
        "attributes": np.array([clip.attributes for clip in clips]),
        "file_name": np.array([clip.file_name for clip in clips]),
        "part": np.array([part] * len(clips)),
    }
