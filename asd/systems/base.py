"""The interface that every anomalous sound detection system fills.

A system turns clips and their features into anomaly scores. It opens no file, draws nothing and
knows no metric: finding clips, features, checkpoints, decisions, result files, tables, pictures,
parallel jobs and resuming are written once, outside, for all systems.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.audio.features import Feature
from asd.clips import Clip
from asd.errors import UserError
from asd.scores.explanation import Explanation
from asd.scores.table import ScoreTable

if TYPE_CHECKING:
    from torch import nn

State = dict[str, Any]
"""Tensors, numbers and texts, and lists and dicts of them: loaded without unpickling."""

Scores = dict[str, NDArray[np.float64]]
"""Score name -> one value per clip, shape (clips,); higher means more anomalous."""


@dataclass(frozen=True)
class Epoch:
    """What a system reports after each epoch of training.

    Parameters
    ----------
    number, total
        Epochs done, and to be done.
    losses
        Column name -> value: a row of the stage's log.
    snapshot
        Gives all that is needed to go on from here; the next run finds it in `Stage.resume`.
    """

    number: int
    total: int
    losses: Mapping[str, float]
    snapshot: Callable[[], State]


class Stage(Protocol):
    """One stage of a training: it has a log and a checkpoint of its own."""

    @property
    def resume(self) -> State | None:
        """The snapshot to go on from; None where the stage begins.

        Of a stage that was finished it is the last one: a training loop that goes on from it has
        nothing left to do.
        """

    def report(self, epoch: Epoch) -> None:
        """Log an epoch and store its snapshot."""

    def kept(self) -> Mapping[int, State]:
        """Epoch number -> snapshot, of the epochs that were to be kept and are done."""


class Run(Protocol):
    """What a system is lent for a training."""

    @property
    def seed(self) -> int:
        """What all random numbers come from."""

    def stage(self, name: str, epochs: int, keep: Collection[int] = ()) -> Stage:
        """Begin or resume a stage.

        Parameters
        ----------
        name
            Tells the stages of a system apart; `MAIN_STAGE` is the only one of most systems.
        epochs
            Epochs that it has; 1 for what is computed in one go, such as labels.
        keep
            Numbers of epochs whose snapshots stay beside the last one.
        """


def resume_stage(stage: Stage, load: Callable[[State], None]) -> None:
    """Let `load` take over the snapshot of a stage that resumes; nothing where it begins.

    Raises
    ------
    UserError
        The snapshot is not one that `load` can take over.
    """
    if stage.resume is None:
        return
    try:
        load(stage.resume)
    except UserError:
        raise
    except Exception as error:  # well-formed, but of another shape than a snapshot of this system
        raise UserError(
            f"the checkpoint does not hold what this system stores ({type(error).__name__}: "
            f"{error}); train without --restart"
        ) from None


MAIN_STAGE = "training"
"""The stage whose log is log.csv and whose checkpoint is checkpoint.pt, without its name."""


class System(ABC):
    """A detector: learns from normal clips, then scores others.

    Its constructor takes an instance of its `Parameters` and the device to compute on, "cpu" or
    "cuda:0", and only stores them.
    """

    Parameters: ClassVar[type]
    """A frozen dataclass of `asd.schema.parameters.parameter`: the only list of its parameters."""

    scope: ClassVar[str] = "section"
    """What one model covers: "section", "machine" or "challenge" (all machine types together)."""

    def __init__(self, parameters: Any, device: str = "cpu") -> None:
        self.parameters = parameters
        self.device = device

    @property
    @abstractmethod
    def score_names(self) -> tuple[str, ...]:
        """The scores it yields; each has result files of its own."""

    @abstractmethod
    def inputs(self) -> Mapping[str, Feature]:
        """The features it wants of each clip, by a name of its own: `clips.features(feature)`."""

    def check(self) -> None:  # noqa: B027 - most need nothing but clips
        """Refuse what cannot work for lack of something, such as weights, before any work is done.

        Raises
        ------
        UserError
            Says what is missing, and which command gets it.
        """

    @abstractmethod
    def fit(self, train: ClipSet, run: Run) -> None:
        """Learn from normal clips.

        A stage that resumes ends with the same bits as one that was not interrupted.

        Raises
        ------
        UserError
            The clips cannot be learned from.
        """

    @classmethod
    def fit_many(cls, fits: Sequence["Fit"]) -> list[Exception | None]:
        """Fit several systems of this class; one that fails does not stop the others.

        Equal to fitting one after the other, which this does, up to rounding; a class may train
        all at the same time. Snapshots given to `report` are those of `fit`, and hold until
        `report` returns.

        Returns
        -------
        list
            For each of `fits` the error that it ended with, raised by `fit`, by `report` or by
            `on_fitted`; None for a system that is fitted.
        """
        errors: list[Exception | None] = []
        for fit in fits:
            try:
                fit.run_alone()
                errors.append(None)
            except Exception as error:  # foreseen or not
                errors.append(error)
        return errors

    @abstractmethod
    def score(self, clips: ClipSet, names: Sequence[str] | None = None) -> Scores:
        """Anomaly scores: for each of `score_names`, shape (clips,); higher is more anomalous.

        With `names`, those scores at least: a system may leave out others that cost time.
        """

    @abstractmethod
    def normal_scores(self) -> Mapping[str, ScoreTable]:
        """Machine type -> scores of normal clips, clip by clip: decisions are made by them.

        They are of clips that were held out, where the system can hold some out.
        """

    def gamma_samples(self) -> Mapping[str, Mapping[str, Scores]]:
        """Machine type -> kind -> samples that gamma distributions are fitted to for decisions.

        Only for systems that must decide as the official baseline does; the first kind is the
        default. All others decide by the quantiles of `normal_scores`.
        """
        return {}

    @abstractmethod
    def state(self) -> State:
        """All that was learned, and nothing that can be had again."""

    @abstractmethod
    def load_state(self, state: State) -> None:
        """Take over what `state` gave."""


@dataclass(frozen=True)
class Table:
    """A table that a training leaves beside its model, to be looked at.

    Parameters
    ----------
    columns
        Their names.
    rows
        A value for each column: text, number, or "" where there is none.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]


@runtime_checkable
class Tabulator(Protocol):
    """A system whose training leaves tables, such as the clusters that it learned from."""

    def tables(self) -> Mapping[str, Table]:
        """Name -> table; the name is that of a CSV file, without its suffix."""


@runtime_checkable
class Explainer(Protocol):
    """A system that knows where in time and frequency its scores come from.

    Others are explained by occlusion, see `asd.systems.occlusion`.
    """

    def explain(self, clips: ClipSet, score: str) -> list[Explanation]:
        """An explanation of a score of each clip, in their order."""


@runtime_checkable
class Referrer(Protocol):
    """A system that compares clips with normal ones that it remembers."""

    def nearest_normal(self, clips: ClipSet) -> list[Clip | None]:
        """The nearest normal clip of each clip, its path without the folder; None if unknown."""


@runtime_checkable
class Exportable(Protocol):
    """A system whose score can be had as one module, for `asd export`."""

    def module(self, score: str, samples: int, rate_hz: int, machine: str) -> "nn.Module":
        """Waveforms of shape (n, samples) to scores of shape (n,), in evaluation mode.

        Made of operations that ONNX knows: no Fourier transform, no complex numbers.

        Raises
        ------
        UserError
            This score cannot be exported.
        """


@dataclass(frozen=True)
class Fit:
    """A system, the arguments of one call of its `fit`, and what to do once it is fitted."""

    system: System
    train: ClipSet
    run: Run
    on_fitted: Callable[[], None] = lambda: None

    def run_alone(self) -> None:
        """Fit the system alone."""
        self.system.fit(self.train, self.run)
        self.on_fitted()
