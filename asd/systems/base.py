"""The interface that every anomalous sound detection system fills.

A system turns clips and their features into anomaly scores. It opens no file, draws nothing and
knows no metric: finding clips, features, checkpoints, thresholds, result files, tables, pictures,
parallel jobs and resuming are written once, outside, for all systems.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from asd.audio.features import Features
from asd.clips import Clip

State = dict[str, Any]
"""Tensors, numbers and texts, and lists and dicts of them: loaded without unpickling."""

Scores = dict[str, NDArray[np.float64]]
"""Score name -> one value per clip (or per threshold sample); higher means more anomalous."""


@dataclass(frozen=True)
class Epoch:
    """What a system reports after each epoch of training.

    Parameters
    ----------
    number, total
        Epochs done, and to be done.
    losses
        Column name -> value: a row of log.csv.
    snapshot
        Gives all that is needed to go on from here, to be handed to `fit` as `resume`.
    """

    number: int
    total: int
    losses: Mapping[str, float]
    snapshot: Callable[[], State]


@dataclass(frozen=True)
class Fit:
    """A system, the arguments of one call of its `fit`, and what to do once it is fitted."""

    system: "System"
    clips: Sequence[Clip]
    features: Features
    seed: int
    on_epoch: Callable[[Epoch], None]
    resume: State | None = None
    on_fitted: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Fit the system alone."""
        self.system.fit(
            self.clips, self.features, seed=self.seed, on_epoch=self.on_epoch, resume=self.resume
        )
        self.on_fitted()


class System(ABC):
    """A detector. Its constructor takes its parameters as plain values and only stores them."""

    scope: ClassVar[str]
    """What one model covers: "section", "machine" or "challenge"."""

    scoring_parameters: ClassVar[tuple[str, ...]] = ()
    """Parameters that scores depend on, beside those of features; thresholds hold for the values
    at training, so testing with others is refused."""

    feature_kind: ClassVar[str] = "logmel"
    """What `fit` and `score` are given: "logmel" frames or "waveform" samples."""

    score_names: tuple[str, ...]
    """The scores it yields; each has result files of its own."""

    threshold_kinds: ClassVar[tuple[str, ...]] = ("clip",)
    """What the samples for the decision threshold can be taken over; the first is the default."""

    @abstractmethod
    def fit(
        self,
        clips: Sequence[Clip],
        features: Features,
        *,
        seed: int,
        on_epoch: Callable[[Epoch], None],
        resume: State | None = None,
    ) -> None:
        """Learn from normal clips.

        With `resume`, a snapshot that an earlier call with the same arguments handed to
        `on_epoch`, the result equals that of an uninterrupted call.

        Raises
        ------
        UserError
            The clips cannot be learned from.
        """

    @classmethod
    def fit_many(cls, fits: Sequence[Fit]) -> list[Exception | None]:
        """Fit several systems of this class; one that fails does not stop the others.

        Equal to fitting one after the other, which this does, up to rounding; a class may train
        all at the same time. Snapshots given to `on_epoch` are those of `fit`, and hold until
        `on_epoch` returns.

        Returns
        -------
        list
            For each of `fits` the error that it ended with, raised by `fit`, by `on_epoch` or by
            `on_fitted`; None for a system that is fitted.
        """
        errors: list[Exception | None] = []
        for fit in fits:
            try:
                fit.run()
                errors.append(None)
            except Exception as error:  # foreseen or not
                errors.append(error)
        return errors

    @abstractmethod
    def score(
        self, clips: Sequence[Clip], features: Features, names: Sequence[str] | None = None
    ) -> Scores:
        """Anomaly scores: for each of `score_names`, shape (clips,); higher is more anomalous.

        With `names`, those scores at least: a system may leave out others that cost time.
        """

    @abstractmethod
    def threshold_samples(self, kind: str, machine: str) -> Scores:
        """Scores of normal sound that the decision threshold of a machine type is fitted to."""

    @abstractmethod
    def state(self) -> State:
        """All that was learned."""

    @abstractmethod
    def load_state(self, state: State) -> None:
        """Take over what `state` gave."""
