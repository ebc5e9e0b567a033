"""Labellers: what gives an embedding system the classes that it learns to tell apart."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.systems.base import Run, Table
from asd.systems.embedding.labels import Part, find_classes


@dataclass(frozen=True)
class TrainingClasses:
    """Classes of training clips.

    Parameters
    ----------
    numbers
        Class of each clip, shape (clips,), int64, from 0.
    count
        Number of classes; there may be more than the training clips have.
    """

    numbers: NDArray[np.int64]
    count: int

    @property
    def sha256(self) -> str:
        """Tells one set of classes from another."""
        return hashlib.sha256(self.numbers.tobytes()).hexdigest()


Embed = Callable[[ClipSet], NDArray[np.float32]]
"""Embeddings of clips, shape (clips, dim)."""


class NetworkTrainer(Protocol):
    """Trains the recipe's own network."""

    def __call__(
        self, train: ClipSet, classes: TrainingClasses, run: Run, stage: str, epochs: int
    ) -> Embed:
        """Train it to tell classes apart, in a stage of that name; its embeddings of clips."""


class TripletTrainer(Protocol):
    """Trains a triplet network."""

    def __call__(self, train: ClipSet, machine: str, run: Run, stage: str, epochs: int) -> Embed:
        """Train it on a machine type, the others are noise; its embeddings of clips."""


@dataclass(frozen=True)
class Trainers:
    """What a labeller is lent to find embeddings with."""

    network: NetworkTrainer
    triplet: TripletTrainer


class Labeller(ABC):
    """Gives training clips their classes. Its keyword parameters are keys of the recipe."""

    trainers: Trainers | None = None
    """Lent by the system before `classes` is called."""

    def tables(self) -> Mapping[str, Table]:
        """What `classes` found, to be looked at; see `asd.systems.base.Tabulator`."""
        return {}

    @abstractmethod
    def classes(self, train: ClipSet, run: Run) -> TrainingClasses:
        """The classes of the clips.

        A labeller that takes long does its work in a stage of the run, so that it is resumed.

        Raises
        ------
        UserError
            The clips cannot be told apart.
        """


class NameLabeller(Labeller):
    """Classes from what the clips' names say.

    Parameters
    ----------
    parts
        Parts of a clip's name whose combinations are the classes.
    count_test_names
        Whether classes that only test clips have are counted too, as in the published results.
    """

    def __init__(
        self,
        *,
        parts: tuple[Part, ...] = ("machine", "section", "attributes", "domain"),
        count_test_names: bool = False,
    ) -> None:
        self.parts = parts
        self.count_test_names = count_test_names

    def classes(self, train: ClipSet, run: Run) -> TrainingClasses:  # noqa: ARG002
        """See `labels.find_classes`."""
        more = train.label_only_clips if self.count_test_names else ()
        found = find_classes(train.clips, self.parts, more)
        return TrainingClasses(found.numbers(train.clips), len(found))


def numbered(names: Sequence[tuple[str, ...]]) -> TrainingClasses:
    """Classes of clips that were given these names, numbered in the names' order."""
    known = {name: number for number, name in enumerate(sorted(set(names)))}
    return TrainingClasses(np.array([known[n] for n in names], dtype=np.int64), len(known))
