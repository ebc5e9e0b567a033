"""Frame vectors, or images, and their labels as plain arrays for other programs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asd.audio.features import Features
from asd.clips import Clip
from asd.files import write_aside

UNLABELLED = -1


def export_arrays(
    clips: Sequence[Clip], features: Features, frames: int, hop: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All vectors of the clips and the label of each.

    Parameters
    ----------
    clips, features
        The clips and, in the same order, their log-mel frames.
    frames, hop
        Frames per vector, and between the beginnings of vectors.

    Returns
    -------
    tuple
        x, shape (vectors, frames * mels), in dB, not standardised, clip after clip; and y, shape
        (vectors,): 0 normal, 1 anomaly, `UNLABELLED`.
    """
    index = features.window_starts(frames, hop)[:, None] + np.arange(frames)
    labels = [UNLABELLED if clip.label is None else int(clip.is_anomaly) for clip in clips]
    x = features.rows[index].reshape(len(index), -1)
    return x, np.repeat(np.array(labels, dtype=np.int64), features.window_counts(frames, hop))


def export_paths(folder: Path, part: str, machine: str, section: str) -> tuple[Path, Path]:
    """Files for x and y of a section; `part` is "train" or "test"."""
    name = f"{part}_{machine}_section_{section}.npy"
    return folder / f"x_{name}", folder / f"y_{name}"


def image_groups(clips: Sequence[Clip], part: str) -> dict[str, list[int]]:
    """Which clips share a file of log-mel images.

    Parameters
    ----------
    part
        "train" or "test".

    Returns
    -------
    dict
        The end of the file's name -> indices of clips: "section_0" for training clips,
        "section_00_source" for test clips, the normal ones first.
    """
    groups: dict[str, list[int]] = {}
    order = sorted(range(len(clips)), key=lambda i: (clips[i].section, clips[i].domain))
    if part == "test":
        order = sorted(order, key=lambda i: clips[i].is_anomaly)
    for i in order:
        section, domain = clips[i].section, clips[i].domain
        name = f"section_{int(section)}" if part == "train" else f"section_{section}_{domain}"
        groups.setdefault(name, []).append(i)
    return dict(sorted(groups.items()))


def write_npy(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array, whole or not at all."""
    with write_aside(path) as aside, aside.open("wb") as file:
        np.save(file, array, allow_pickle=False)
