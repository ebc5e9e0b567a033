"""Which classes of clips embeddings mistake for which."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.backends import unit_rows
from asd.errors import UserError
from asd.jobs.embeddings import EmbeddedClips

Name = tuple[str, ...]


@dataclass(frozen=True)
class Confusion:
    """Clips by the class that they are of, and the class whose mean direction is nearest.

    Parameters
    ----------
    classes
        Machine type, section, domain and attributes of each class of training clips, sorted.
    counts
        Kind of clips -> how many of each class (row) are nearest to each (column), shape
        (classes, classes). Test clips of a class without training clips are left out.
    """

    classes: tuple[Name, ...]
    counts: dict[str, NDArray[np.int64]]


def class_confusion(clips: EmbeddedClips) -> Confusion:
    """Confusion of classes by the means of training embeddings of unit length.

    A training clip is compared with the mean of the others of its class; the only clip of a class
    is always taken for another.

    Raises
    ------
    UserError
        There are no training clips, or of one class only.
    """
    columns = (clips.machine, clips.section, clips.domain, clips.attributes)
    names = [tuple(map(str, row)) for row in zip(*columns, strict=True)]
    is_train = clips.part == "train"
    classes = tuple(sorted({name for name, train in zip(names, is_train, strict=True) if train}))
    if len(classes) < 2:
        raise UserError(
            f"--classes: the file holds training clips of {len(classes)} classes; embed those of "
            "two or more (asd embed --parts train test)"
        )
    known = {name: number for number, name in enumerate(classes)}
    own = np.array([known.get(name, -1) for name in names])
    rows = unit_rows(clips.embeddings.astype(np.float64))
    nearest = _nearest(rows, own, is_train, len(classes))
    kinds = {
        "training": is_train,
        "normal test": (clips.part == "test") & (clips.label == "normal"),
        "anomalous test": (clips.part == "test") & (clips.label == "anomaly"),
    }
    counts = {}
    for kind, chosen in kinds.items():
        chosen = chosen & (own >= 0)
        if chosen.any():
            counts[kind] = np.zeros((len(classes),) * 2, dtype=np.int64)
            np.add.at(counts[kind], (own[chosen], nearest[chosen]), 1)
    return Confusion(classes, counts)


def _nearest(
    rows: NDArray[np.float64], own: NDArray[np.int64], is_train: NDArray[np.bool_], count: int
) -> NDArray[np.intp]:
    """Number of the class whose mean points the way of each row most, shape (clips,)."""
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, own[is_train], rows[is_train])
    sizes = np.bincount(own[is_train], minlength=count)
    cosines = rows @ unit_rows(sums).T
    train = np.flatnonzero(is_train)
    others = unit_rows(sums[own[train]] - rows[train])
    alone = sizes[own[train]] < 2
    cosines[train, own[train]] = np.where(alone, -np.inf, (rows[train] * others).sum(axis=1))
    found: NDArray[np.intp] = cosines.argmax(axis=1)
    return found
