"""Look through recordings before they are learned from: what they are, and which can be used."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd.audio.channels import choose_channels
from asd.audio.recording import read_recording
from asd.audio.recordings import recordings
from asd.clips import Clip
from asd.errors import UserError
from asd.monitoring.table import KnownFacts
from asd.words import utf8_name


@dataclass(frozen=True)
class Survey:
    """Recordings that can be used, and those that cannot.

    Parameters
    ----------
    clips
        What is known of each recording that can be used.
    durations_s, rates_hz, channels
        Length, sampling rate and number of channels of each.
    sessions
        Session of each; "" where none was named.
    unreadable
        Path and reason of each recording that cannot be used.
    starts_s
        Where each begins in its file, where files were cut into parts; none where they were not.
    """

    clips: tuple[Clip, ...]
    durations_s: tuple[float, ...]
    rates_hz: tuple[int, ...]
    channels: tuple[int, ...]
    sessions: tuple[str, ...]
    unreadable: tuple[tuple[Path, str], ...]
    starts_s: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of all together."""
        return sum(self.durations_s)

    @property
    def rate_hz(self) -> int:
        """The lowest sampling rate: all can be brought to it without inventing sound."""
        return min(self.rates_hz)

    def read(self, number: int) -> NDArray[np.float32]:
        """The samples of a recording, shape (channels, samples), at the common rate."""
        path = self.clips[number].path
        if not self.starts_s:
            return read_recording(path, rate_hz=self.rate_hz).wave
        wave = _read_once(path, self.rate_hz, path.stat().st_mtime_ns)
        start_s = self.starts_s[number]
        ends_s = start_s, start_s + self.durations_s[number]
        first, end = (round(second * self.rate_hz) for second in ends_s)
        return wave[:, first:end]

    def cut(self, part_s: float) -> "Survey":
        """The same sound as parts of at most a length, one after the other in their files."""
        parts = [
            (i, k * length / count, length / count)
            for i, length in enumerate(self.durations_s)
            for count in [math.ceil(length / part_s)]
            for k in range(count)
        ]
        owner, starts, durations = zip(*parts, strict=True)
        return replace(self.select(owner), durations_s=durations, starts_s=starts)

    def select(self, numbers: Sequence[int]) -> "Survey":
        """The recordings of these numbers; those that cannot be used stay told."""
        return replace(
            self,
            clips=tuple(self.clips[i] for i in numbers),
            durations_s=tuple(self.durations_s[i] for i in numbers),
            rates_hz=tuple(self.rates_hz[i] for i in numbers),
            channels=tuple(self.channels[i] for i in numbers),
            sessions=tuple(self.sessions[i] for i in numbers),
            starts_s=tuple(self.starts_s[i] for i in numbers) if self.starts_s else (),
        )


@lru_cache(maxsize=1)
def _read_once(path: Path, rate_hz: int, changed_ns: int) -> NDArray[np.float32]:  # noqa: ARG001
    """A file of which several parts are wanted in turn; read anew when it has changed."""
    return read_recording(path, rate_hz=rate_hz).wave


def places_of(where: str | Path | Iterable[str | Path]) -> list[Path]:
    """One place or several, as a list."""
    return [Path(where)] if isinstance(where, (str, Path)) else [Path(place) for place in where]


def shown_name(path: Path, places: Sequence[Path]) -> str:
    """The name of a recording in tables: within the one folder that was given, else its path."""
    if len(places) == 1 and places[0].is_dir():
        return utf8_name(path.relative_to(places[0]).as_posix())
    return utf8_name(path)


def survey(
    where: str | Path | Iterable[str | Path],
    *,
    machine: str,
    channel: str,
    known: KnownFacts | None = None,
    progress: bool = True,
) -> Survey:
    """Read recordings once, to find out what they are.

    Parameters
    ----------
    where
        Folders, files, or both.
    machine
        What the machine is called.
    channel
        The channel that will be used: a recording that lacks it cannot be used.
    known
        What a table says of recordings.
    progress
        Show a bar.

    Raises
    ------
    UserError
        A place is missing, the table does not fit, or no recording can be used.
    """
    places = places_of(where)
    found = recordings(places, machine=machine, label="normal").clips
    facts = known.of_recordings([clip.path for clip in found], places) if known else {}
    clips, shapes, sessions, unreadable = [], [], [], []
    for clip in tqdm(found, desc="reading", unit="recording", disable=not progress):
        said = facts.get(clip.path)
        try:
            wave, rate_hz = read_recording(clip.path)
            choose_channels(wave, channel)
        except UserError as error:
            unreadable.append((clip.path, _reason(error, clip.path)))
            continue
        clips.append(said.told(clip) if said else clip)
        shapes.append((wave.shape[1] / rate_hz, rate_hz, len(wave)))
        sessions.append(said.session if said else "")
    if not clips:
        path, reason = unreadable[0]
        raise UserError(f"{path}: {reason} (and no other recording can be used)")
    durations, rates, channels = zip(*shapes, strict=True)
    return Survey(tuple(clips), durations, rates, channels, tuple(sessions), tuple(unreadable))


def _reason(error: UserError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
