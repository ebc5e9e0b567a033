"""Learn a machine's normal sound from one's own recordings."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd.audio.pieces import Pieces, cut_recordings
from asd.detector import Detector, OwnRecordings
from asd.errors import UserError
from asd.monitoring.holding_out import (
    FEWEST_PARTS,
    PARTS,
    THIRD,
    assign_parts,
    joined,
    score_part,
    unit_count,
)
from asd.monitoring.survey import Survey, survey
from asd.monitoring.table import KnownFacts
from asd.systems.registry import SystemEntry

log = logging.getLogger(__name__)

DEFAULT_MODEL = "stats"
WINDOW_S = 10.0

HoldOut = Literal["each", "third", "auto"]


@dataclass(frozen=True)
class Plan:
    """What to learn with.

    Parameters
    ----------
    entry, parameters
        The system.
    window_s
        Longer recordings are cut into windows of this length.
    hold_out
        "each": every recording in turn, a twentieth at a time, which takes 21 trainings; "third": a
        third that is never learned, which takes one; "auto": each, where a system learns without
        epochs and there are ten recordings or sessions, else a third.
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
    hold_out: HoldOut = "auto"
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

    Either every recording is scored once by a detector that learned nearly all the others, and the
    detector that is given learned all; or it is the very one that scored the held-out third, and
    never learns that.

    Raises
    ------
    UserError
        There are too few recordings, or they cannot be learned from.
    """
    pieces = cut_recordings(
        found.clips, found.durations_s, plan.window_s, found.rate_hz, found.read
    )
    domains = [clip.domain for clip in found.clips]
    held_out = _way_of_holding_out(plan, found.sessions)
    parts = PARTS if held_out == "each" else THIRD
    part = assign_parts(domains, found.sessions, parts, plan.seed)
    numbers = range(int(part.max()) + 1 if held_out == "each" else 1)
    results = []
    with tqdm(total=len(numbers) + (held_out == "each"), desc="learning", unit="fit",
              disable=not progress) as bar:  # fmt: skip
        for number in numbers:
            out = part[pieces.owner] == number
            detector = _fitted(plan, pieces, ~out, progress)
            results.append(score_part(detector, pieces, found.clips, out))
            bar.update()
        if held_out == "each":
            detector = _fitted(plan, pieces, np.ones(len(part[pieces.owner]), dtype=bool), progress)
            bar.update()
    scores = joined(results)
    own = OwnRecordings(
        window_s=plan.window_s,
        score=chosen_score(plan, tuple(scores.recordings.columns)),
        recordings=len(found.clips),
        seconds=found.seconds,
        held_out=held_out,
        sessions=len(set(found.sessions) - {""}),
    )
    detector.keep_held_out(own, scores.recordings, scores.windows)
    return detector


def _way_of_holding_out(plan: Plan, sessions: tuple[str, ...]) -> Literal["each", "third"]:
    few = unit_count(sessions) < FEWEST_PARTS
    if plan.hold_out == "each" and few:
        log.warning(
            "--hold_out each: with fewer than %d recordings or sessions, more false alarms than "
            "promised can come; third holds its promise", FEWEST_PARTS,
        )  # fmt: skip
    if plan.hold_out == "auto":
        return "third" if few or _epochs(plan) > 0 else "each"
    return plan.hold_out


def _epochs(plan: Plan) -> int:
    """Passes over the training data; 0 for a system that learns in one go."""
    return int(getattr(plan.parameters, "epochs", 0))


def _fitted(plan: Plan, pieces: Pieces, windows: NDArray[np.bool_], progress: bool) -> Detector:
    """A detector that has learned from some windows."""
    detector = Detector.create(plan.entry, plan.parameters, plan.device)
    return detector.fit(
        pieces.clips.select(np.flatnonzero(windows)),
        seed=plan.seed,
        progress=progress and _epochs(plan) > 0,
        normal_scores=False,
    )


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
