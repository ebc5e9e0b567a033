"""Learn a machine's normal sound from one's own recordings."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd.audio.pieces import Pieces, cut_recordings
from asd.detector import Detector, OwnRecordings
from asd.errors import UserError
from asd.monitoring.holding_out import assign_parts, joined, score_held_out
from asd.monitoring.survey import Survey, survey
from asd.monitoring.table import KnownFacts
from asd.systems.registry import SystemEntry

DEFAULT_MODEL = "stats"
WINDOW_S = 10.0
FOLDS = 5


@dataclass(frozen=True)
class Plan:
    """What to learn with.

    Parameters
    ----------
    entry, parameters
        The system.
    window_s
        Longer recordings are cut into windows of this length.
    folds
        Into how many parts recordings are dealt, each of which is held out in turn; 1 learns only
        once and holds a third out.
    score
        The score that decides; "" takes the system's first.
    seed
        What random numbers come from.
    device
        Where to compute.
    """

    entry: SystemEntry
    parameters: Any
    window_s: float = WINDOW_S
    folds: int = FOLDS
    score: str = ""
    seed: int = 13711
    device: str = "cpu"

    @property
    def channel(self) -> str:
        """The channel that the system hears."""
        return str(getattr(self.parameters, "channel", "all"))


@dataclass(frozen=True)
class Learned:
    """A detector, and the recordings that it was learned from.

    Parameters
    ----------
    detector
        Knows how it hears recordings, and its held-out scores.
    survey
        The recordings, also those that could not be used.
    left_out
        Names of recordings that the table calls anomalous.
    """

    detector: Detector
    survey: Survey
    left_out: tuple[str, ...] = ()


def learn(
    where: str | Path | Iterable[str | Path],
    plan: Plan,
    *,
    machine: str,
    known: KnownFacts | None = None,
    progress: bool = True,
) -> Learned:
    """Learn from a folder, files, or both.

    Raises
    ------
    UserError
        There are no recordings, too few, or they cannot be learned from.
    """
    found = survey(where, machine=machine, channel=plan.channel, known=known, progress=progress)
    normal, left_out = _normal_only(found)
    return Learned(learn_surveyed(normal, plan, progress=progress), normal, left_out)


def learn_surveyed(found: Survey, plan: Plan, *, progress: bool = True) -> Detector:
    """Learn from recordings that have been looked through.

    With several parts, every recording is scored once by a detector that learned the other parts,
    and the detector that is given learned all. It learned a little more than those that were
    measured, so its scores of new normal recordings are rather lower than the held-out ones, and
    its false alarms rather fewer than promised. With one part it is the very detector that scored
    the held-out third, and never learns that.

    Raises
    ------
    UserError
        There are too few recordings, or they cannot be learned from.
    """
    pieces = cut_recordings(
        found.clips, found.durations_s, plan.window_s, found.rate_hz, found.read
    )
    domains = [clip.domain for clip in found.clips]
    part = assign_parts(domains, found.sessions, plan.folds, plan.seed)
    held_out = range(int(part.max()) + 1 if plan.folds > 1 else 1)
    shows_epochs = progress and getattr(plan.parameters, "epochs", 0) > 0
    with tqdm(total=len(held_out) + (plan.folds > 1), desc="learning", unit="fit",
              disable=not progress) as bar:  # fmt: skip

        def fit(windows: NDArray[np.int64]) -> Detector:
            detector = fitted(plan, pieces, windows, progress=shows_epochs)
            bar.update()
            return detector

        results = list(score_held_out(pieces, found.clips, part, held_out, fit))
        detector = fit(np.arange(len(pieces.owner))) if plan.folds > 1 else results[0][0]
    scores = joined([one for _, one in results])
    own = OwnRecordings(
        window_s=plan.window_s,
        score=chosen_score(plan, tuple(scores.recordings.columns)),
        recordings=len(found.clips),
        seconds=found.seconds,
        folds=plan.folds,
        sessions=len(set(found.sessions) - {""}),
    )
    detector.keep_held_out(own, scores.recordings, scores.windows)
    return detector


def fitted(
    plan: Plan, pieces: Pieces, windows: NDArray[np.int64], *, progress: bool = False
) -> Detector:
    """A detector that has learned from some windows."""
    detector = Detector.create(plan.entry, plan.parameters, plan.device)
    return detector.fit(pieces.clips.select(windows), seed=plan.seed, progress=progress)


def chosen_score(plan: Plan, names: tuple[str, ...]) -> str:
    """The score that decides.

    Raises
    ------
    UserError
        The system has no such score.
    """
    if plan.score and plan.score not in names:
        raise UserError(f"--score: {plan.score!r} is unknown; choose from {', '.join(names)}")
    usual = plan.entry.score if plan.entry.score in names else names[0]
    return plan.score or usual


def _normal_only(found: Survey) -> tuple[Survey, tuple[str, ...]]:
    """The recordings that are not known to be anomalous, and the names of those that are."""
    kept = [i for i, clip in enumerate(found.clips) if not clip.is_anomaly]
    left_out = tuple(str(clip.path) for clip in found.clips if clip.is_anomaly)
    if not left_out:
        return found, ()

    def chosen(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(values[i] for i in kept)

    return Survey(
        chosen(found.clips), chosen(found.durations_s), chosen(found.rates_hz),
        chosen(found.channels), chosen(found.sessions), found.unreadable,
    ), left_out  # fmt: skip
