"""Learn a machine's normal sound from one's own recordings."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd.audio.pieces import Pieces, cut_recordings
from asd.detector import Detector, OwnRecordings
from asd.errors import UserError
from asd.monitoring.choosing import Choice, choose
from asd.monitoring.holding_out import (
    FEWEST_PARTS,
    PARTS,
    THIRD,
    assign_parts,
    joined,
    score_part,
    unit_count,
)
from asd.monitoring.plan import SHORTEST_WINDOW_S, Plan
from asd.monitoring.survey import Survey, survey
from asd.monitoring.table import KnownFacts

log = logging.getLogger(__name__)

_PART_WINDOWS = 3
"""Windows in each part of which few long recordings are made."""


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
    choice
        How the detector was chosen, where that was asked for.
    """

    detector: Detector
    survey: Survey
    left_out: tuple[str, ...] = ()
    choice: Choice | None = None


def learn(
    where: str | Path | Iterable[str | Path],
    plan: Plan,
    *,
    machine: str,
    known: KnownFacts | None = None,
    choosing: bool = False,
    others: Sequence[Path] = (),
    progress: bool = True,
) -> Learned:
    """Learn from a folder, files, or both.

    Parameters
    ----------
    where
        Normal recordings.
    plan
        What to learn with.
    machine
        What the machine is called.
    known
        What a table says of recordings.
    choosing
        Choose the system (`asd.monitoring.choosing`); the plan says the rest.
    others
        Recordings of other machines to choose by.
    progress
        Show bars.

    Raises
    ------
    UserError
        There are no recordings, too few, or they cannot be learned from; or windows are too short.
    """
    if plan.window_s < SHORTEST_WINDOW_S:
        raise UserError(
            f"--window: expected {SHORTEST_WINDOW_S:g} s or more, got {plan.window_s:g}"
        )
    found = survey(where, machine=machine, channel=plan.channel, known=known, progress=progress)
    normal, left_out = _normal_only(found)
    if found.unreadable:
        log.warning(
            "%d of %d recordings cannot be used, such as %s: %s", len(found.unreadable),
            len(found.unreadable) + len(found.clips), *found.unreadable[0],
        )  # fmt: skip
    whole = normal
    if not any(normal.sessions):
        normal = _in_parts(normal, plan.window_s)
    choice = None
    if choosing:
        strange = (
            survey(others, machine=machine, channel=plan.channel, progress=progress)
            if others
            else None
        )
        choice = choose(normal, plan, strange, progress=progress)
        plan = choice.plan
    return Learned(learn_surveyed(normal, plan, progress=progress), whole, left_out, choice)


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
    """The recordings that are not known to be anomalous, and the names of those that are.

    Raises
    ------
    UserError
        All are.
    """
    kept = [i for i, clip in enumerate(found.clips) if not clip.is_anomaly]
    left_out = tuple(str(clip.path) for clip in found.clips if clip.is_anomaly)
    if not kept:
        raise UserError(f"{left_out[0]}: is called anomalous, as are all others; give normal ones")
    return (found.select(kept) if left_out else found), left_out


def _in_parts(found: Survey, window_s: float) -> Survey:
    """A few long recordings as many short ones: else nothing could be held out."""
    parts = found.cut(_PART_WINDOWS * window_s)
    if len(found.clips) >= FEWEST_PARTS or len(parts.clips) < 2 * len(found.clips):
        return found
    log.warning(
        "%d recordings are few, so parts of them are held out (%d of up to %g s): the false-alarm "
        "rate is that of more sound of the same recordings; record on several days to promise more",
        len(found.clips), len(parts.clips), _PART_WINDOWS * window_s,
    )  # fmt: skip
    return parts
