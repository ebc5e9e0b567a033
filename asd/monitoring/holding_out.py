"""Scores of normal recordings by detectors that did not learn from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.audio.pieces import Pieces
from asd.clips import Clip
from asd.detector import Detector
from asd.errors import UserError
from asd.scores.table import ScoreTable
from asd.scores.windows import HeldOutWindows

FEWEST = 4
"""Recordings: with fewer there is next to nothing to learn from beside those held out."""

PARTS = 20
"""Parts that are held out in turn where each recording is."""

FEWEST_PARTS = 10
"""With fewer, a detector of the others differs too much from one of all.

Share of new normal recordings that were flagged at a rate of 0.2, by the system "stats" on
24 synthetic machines with 40 normal recordings each: 0.27 with 5 parts, 0.21 with 10, 0.19 with 20,
0.18 with 40; deviations of the means 0.015 to 0.02.
"""

THIRD = 3
"""Parts of which one is held out and never learned."""


@dataclass(frozen=True)
class HeldOut:
    """Scores of held-out recordings and of their windows."""

    recordings: ScoreTable
    windows: HeldOutWindows


def unit_count(sessions: Sequence[str]) -> int:
    """Number of sessions, recordings without one counting as one each."""
    return sum(not session for session in sessions) + len(set(sessions) - {""})


def assign_parts(
    domains: Sequence[str], sessions: Sequence[str], parts: int, seed: int
) -> NDArray[np.int64]:
    """The part of each recording, shape (recordings,), from 0.

    Recordings of one session come into one part; a recording without a session is one for itself.
    Parts are of about the same size, and each gets its share of both domains.

    Raises
    ------
    UserError
        There are too few recordings or sessions.
    """
    if len(domains) < FEWEST:
        raise UserError(
            f"{len(domains)} recordings are too few to learn from some and hold others out; give "
            f"{FEWEST} or more (20 allow a false-alarm rate of 0.05)"
        )
    groups: dict[str, list[int]] = {}
    for number, session in enumerate(sessions):
        key = f"session {session}" if session else str(number)
        groups.setdefault(key, []).append(number)
    if len(groups) < 2:
        raise UserError(
            f"all recordings are of the session {sessions[0]!r}, so none can be held out; record "
            "another session, or leave the column session out"
        )
    order = np.random.default_rng(seed).permutation(len(groups))
    drawn = [list(groups.values())[i] for i in order]
    drawn.sort(key=lambda members: (-len(members), domains[members[0]]))
    parts = min(parts, len(groups))
    sizes = [0] * parts
    part = np.empty(len(domains), dtype=np.int64)
    for members in drawn:
        smallest = sizes.index(min(sizes))
        part[members] = smallest
        sizes[smallest] += len(members)
    return part


def score_part(
    detector: Detector, pieces: Pieces, clips: Sequence[Clip], out: NDArray[np.bool_]
) -> HeldOut:
    """The scores of the recordings of some windows, which a detector did not learn from.

    Parameters
    ----------
    pieces
        The windows of all recordings.
    clips
        What is known of each recording.
    out
        Whether each window is held out, shape (windows,).
    """
    scores = detector.score(pieces.clips.select(np.flatnonzero(out)))
    members, owner = np.unique(pieces.owner[out], return_inverse=True)
    windows = HeldOutWindows(owner.astype(np.int64), dict(scores.columns))
    counts = np.bincount(owner)
    means = {name: np.bincount(owner, v) / counts for name, v in scores.columns.items()}
    return HeldOut(ScoreTable(tuple(clips[int(i)] for i in members), means), windows)


def joined(parts: Sequence[HeldOut]) -> HeldOut:
    """The scores of several parts together, for the scores that all of them have."""
    names = [
        n for n in parts[0].recordings.columns if all(n in p.recordings.columns for p in parts)
    ]
    first, owners = 0, []
    for part in parts:
        owners.append(part.windows.owner + first)
        first += part.windows.recordings
    columns = {n: np.concatenate([p.windows.columns[n] for p in parts]) for n in names}
    tables = [p.recordings.with_columns({n: p.recordings[n] for n in names}) for p in parts]
    return HeldOut(ScoreTable.concat(tables), HeldOutWindows(np.concatenate(owners), columns))
