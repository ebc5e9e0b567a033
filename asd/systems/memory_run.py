"""A training without files: for the Python API, tables of numbers and tests."""

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from asd.systems.base import Epoch, Stage, State


@dataclass(frozen=True)
class MemoryRun:
    """Lends a system a seed; what it reports goes to a function, and epochs to keep into memory.

    Parameters
    ----------
    seed
        What all random numbers come from.
    on_epoch
        Called with the stage's name and the epoch.
    resume
        Stage name -> snapshot to go on from.
    """

    seed: int
    on_epoch: Callable[[str, Epoch], None] = lambda _stage, _epoch: None
    resume: Mapping[str, State] = field(default_factory=dict)

    def stage(self, name: str, epochs: int, keep: Collection[int] = ()) -> Stage:  # noqa: ARG002
        """See `asd.systems.base.Run`."""
        return _MemoryStage(name, self.on_epoch, self.resume.get(name), frozenset(keep))


@dataclass(frozen=True)
class _MemoryStage:
    name: str
    on_epoch: Callable[[str, Epoch], None]
    resume: State | None
    keep: frozenset[int]
    _kept: dict[int, State] = field(default_factory=dict)

    def report(self, epoch: Epoch) -> None:
        if epoch.number in self.keep:
            # The tensors of a snapshot are those in training: the next step changes them.
            self._kept[epoch.number] = deepcopy(epoch.snapshot())
        self.on_epoch(self.name, epoch)

    def kept(self) -> Mapping[int, State]:
        return self._kept
