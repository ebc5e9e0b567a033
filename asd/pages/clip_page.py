"""The page of scored clips: from detectors and recordings to what `asd.report.clip_page` writes.

Pictures, sounds and reasons are made for the most anomalous clips of each machine type; the others
are listed with their scores. Sounds are part of the page up to a size, and linked beyond it.
"""

import io
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asd import __version__
from asd.audio.channels import choose_channels
from asd.audio.clip_set import ClipSet
from asd.audio.logmel import LogMel, LogMelParameters
from asd.audio.mel import hz_to_mel, mel_frequencies
from asd.audio.recording import read_recording
from asd.audio.recordings import computed_features
from asd.clips import Clip
from asd.detector import Detector
from asd.errors import UserError
from asd.report.clip_page import (
    AxisTick,
    Box,
    NormalScores,
    Page,
    Picture,
    ScoredClip,
    Sound,
    Table,
    ranked,
    write_page,
)
from asd.report.pictures import heat_png, spectrogram_png
from asd.scores.explanation import Explanation, Part
from asd.systems.base import Explainer

log = logging.getLogger(__name__)

_BANDS, _COLUMNS = 96, 320
"""Size of spectrograms."""

_CANDIDATES = 200
"""Normal clips among which the one of the most similar spectrum is looked for."""

_TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16000, 32000)


@dataclass(frozen=True)
class PageLimits:
    """What a page may hold and cost.

    Parameters
    ----------
    details
        Clips with pictures and a reason.
    occluded
        Of these, those that may be explained by occlusion, which scores 80 changed clips for each.
    sound_bytes
        Size of all sounds in the page; further ones are linked.
    longest_s
        Longer recordings are linked.
    """

    details: int = 100
    occluded: int = 20
    sound_bytes: int = 12_000_000
    longest_s: float = 60.0


@dataclass(frozen=True)
class ScoredSet:
    """Clips that a detector has scored.

    Parameters
    ----------
    detector
        The detector.
    clips
        The clips.
    score
        Name of the score.
    values
        Scores, shape (clips,).
    thresholds
        Machine type -> the score above which clips are decided anomalous; may be empty.
    p_values
        Shape (clips,); None where there are none.
    decisions
        Shape (clips,); None takes what the thresholds say.
    normal_clips
        Normal recordings to compare with, such as the training clips; the nearest is looked for
        among them. Without any, no normal clip is shown.
    names
        What the clips are called; none for the names of their files.
    rate_hz
        Of recordings whose features lie in no store: the rate to compute them at, clip by clip.
    """

    detector: Detector
    clips: ClipSet
    score: str
    values: NDArray[np.float64]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    p_values: NDArray[np.float64] | None = None
    decisions: NDArray[np.bool_] | None = None
    normal_clips: Sequence[Clip] = ()
    names: Sequence[str] = ()
    rate_hz: int | None = None

    def one(self, i: int) -> ClipSet:
        """One of the clips."""
        if self.rate_hz is None:
            return self.clips.select([i])
        return ClipSet([self.clips[i]], computed_features(self.rate_hz))

    def name(self, i: int) -> str:
        """What a clip is called."""
        return self.names[i] if self.names else self.clips[i].file_name

    @cached_property
    def paths(self) -> dict[tuple[str, str], Path]:
        """Machine type and file name -> where the normal recording lies."""
        return {(clip.machine, clip.file_name): clip.path for clip in self.normal_clips}

    def normal_scores(self, machine: str) -> NormalScores:
        """What the scores of a machine type are held against."""
        table = self.detector.normal.get(machine)
        known = () if table is None or self.score not in table.columns else table[self.score]
        return NormalScores(tuple(map(float, known)), self.thresholds.get(machine))


@dataclass(frozen=True)
class PageText:
    """What stands around the clips of a page, see `asd.report.clip_page.Page`."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Picture, ...] = ()


def write_clip_page(
    path: Path,
    sets: Sequence[ScoredSet],
    text: PageText,
    *,
    failed: Sequence[tuple[str, str]] = (),
    limits: PageLimits | None = None,
) -> None:
    """Write the page of some scored clips.

    Parameters
    ----------
    sets
        Of one score, and each of other clips.
    failed
        Names of recordings that could not be scored, and why.

    Raises
    ------
    UserError
        The file cannot be written. A recording that can no longer be read is told and listed
        without pictures.
    """
    maker = _PageMaker(path.resolve().parent, limits or PageLimits())
    clips = [clip for each in sets for clip in maker.scored_clips(each, len(sets))]
    machine = next(iter(sets[0].clips.machines), "") if sets else ""
    clips += [maker.failed_clip(name, machine, why) for name, why in failed]
    normal = {
        machine: each.normal_scores(machine) for each in sets for machine in each.clips.machines
    }
    clips = _within(clips, normal, maker.limits.sound_bytes)
    score = sets[0].score if sets else ""
    page = Page(text.title, score, clips, normal, text.facts, text.notes, text.tables,
                text.figures, _footer(clips))  # fmt: skip
    write_page(path, page)


def _within(
    clips: Sequence[ScoredClip], normal: dict[str, NormalScores], most: int
) -> list[ScoredClip]:
    """The clips, those without sounds that the most anomalous ones have left no room for."""
    left, found = most, []
    for clip in ranked(clips, normal):
        size = len(clip.sound.audio) + (len(clip.normal.audio) if clip.normal else 0)
        if size <= left:
            left -= size
            found.append(clip)
            continue
        other = clip.normal and replace(clip.normal, audio=b"")
        found.append(replace(clip, sound=replace(clip.sound, audio=b""), normal=other))
    return found


def _footer(clips: Sequence[ScoredClip]) -> str:
    linked = sum(bool(clip.has_detail and not clip.sound.audio) for clip in clips)
    parts = [f"Made by asd {__version__}."]
    if any(clip.sound.audio for clip in clips):
        parts.append("Both sounds of a pair are raised by the same gain, the louder to full scale.")
    if linked:
        parts.append("Other sounds are links to files, which must stay where they are.")
    return " ".join(parts)


class _PageMaker:
    """Makes the entries of a page's clips, and counts the size of their sounds."""

    def __init__(self, folder: Path, limits: PageLimits) -> None:
        self._folder = folder
        self.limits = limits
        self._occlusions = limits.occluded

    def scored_clips(self, scored: ScoredSet, sets: int) -> list[ScoredClip]:
        """The entries of a set's clips."""
        detailed = self._detailed(scored, max(1, self.limits.details // sets))
        nearest = _Nearest(scored)
        entries = [self._plain(scored, i) for i in range(len(scored.clips))]
        for i in tqdm(detailed, desc="page", unit="clip", leave=False):
            try:
                entries[i] = self._full(scored, i, entries[i], nearest)
            except UserError as error:
                log.warning("%s; the page shows it without pictures", error)
        return entries

    def failed_clip(self, name: str, machine: str, why: str) -> ScoredClip:
        """The entry of a recording that could not be scored."""
        return ScoredClip(Sound(name), machine, math.nan, error=why)

    def _detailed(self, scored: ScoredSet, most: int) -> list[int]:
        """Indices of the clips to show in full, the most anomalous of each machine type."""
        machines = scored.clips.by_machine()
        if not machines:
            return []
        share = max(1, most // len(machines))
        found = []
        for members in machines.values():
            order = sorted(members, key=lambda i: -float(scored.values[i]))
            found += order[:share]
        return sorted(found, key=lambda i: -float(scored.values[i]))

    def _plain(self, scored: ScoredSet, i: int) -> ScoredClip:
        clip, score = scored.clips[i], float(scored.values[i])
        decision: bool | None = None
        if scored.decisions is not None:
            decision = bool(scored.decisions[i])
        elif clip.machine in scored.thresholds:
            decision = bool(np.float32(score) > scored.thresholds[clip.machine])
        return ScoredClip(
            Sound(scored.name(i), link=link_of(clip.path, self._folder)),
            clip.machine,
            score,
            section="" if len({c.section for c in scored.clips}) < 2 else clip.section,
            domain=clip.domain if scored.clips.is_target.any() else "",
            label=clip.label or "",
            attributes="" if clip.attributes == "noAttribute" else clip.attributes,
            decision=decision,
            p_value=None if scored.p_values is None else float(scored.p_values[i]),
        )

    def _full(
        self, scored: ScoredSet, i: int, entry: ScoredClip, nearest: "_Nearest"
    ) -> ScoredClip:
        clip, channel = scored.clips[i], _channel_of(scored.detector)
        heard = _Heard.read(clip.path, channel)
        near = nearest.of(i, heard)
        other = _Heard.read(near.path, channel) if near else None
        why = self._explanation(scored, i, near)
        pair = [heard] if other is None else [heard, other]
        loudest = max(each.loudest_db for each in pair)
        gain = 0.9 / max(max(each.peak for each in pair), 1e-6)
        return replace(
            entry,
            sound=replace(self._sound(heard, loudest, gain), name=entry.name),
            heat=b"" if why is None else heat_png(heard.overlay(why)),
            boxes=() if why is None else tuple(map(heard.box, why.parts())),
            why="" if why is None else _sentence(why, heard.seconds),
            normal=None if other is None else self._sound(other, loudest, gain),
            normal_heading=nearest.heading,
        )

    def _explanation(self, scored: ScoredSet, i: int, near: Clip | None) -> Explanation | None:
        if not isinstance(scored.detector.system, Explainer):
            self._occlusions -= 1
            if self._occlusions < 0:
                return None
        normal = [None if near is None else near.path]
        (why,) = scored.detector.explain(scored.one(i), scored.score, normal)
        return why

    def _sound(self, heard: "_Heard", loudest_db: float, gain: float) -> Sound:
        audio = heard.flac(gain) if heard.seconds <= self.limits.longest_s else b""
        link = link_of(heard.path, self._folder)
        picture = spectrogram_png(heard.levels_db, loudest_db)
        return Sound(heard.path.name, round(heard.seconds, 3), link, audio, "audio/flac", picture,
                     heard.ticks)  # fmt: skip


def link_of(path: Path, folder: Path) -> str:
    """A URL by which a page in a folder finds a file: relative where that is possible."""
    where = os.fsencode(path.resolve())
    try:
        relative = os.path.relpath(where, os.fsencode(folder))
    except ValueError:  # another drive
        return path.resolve().as_uri()
    return "./" + quote(relative.replace(os.fsencode(os.sep), b"/"))


def _channel_of(detector: Detector) -> str:
    channel = str(getattr(detector.parameters, "channel", "left"))
    return "mix" if channel == "all" else channel


@dataclass(frozen=True)
class _Heard:
    """A recording, one channel, with its spectrogram for the page.

    Parameters
    ----------
    levels_db
        Log-mel levels, shape (columns, bands).
    hop
        Samples between columns.
    """

    path: Path
    wave: NDArray[np.float32]
    rate_hz: int
    levels_db: NDArray[np.float32]
    hop: int

    @classmethod
    def read(cls, path: Path, channel: str) -> "_Heard":
        """Read a recording at its own rate.

        Raises
        ------
        UserError
            It cannot be read.
        """
        recording = read_recording(path)
        wave = choose_channels(recording.wave, channel)[0]
        hop = max(256, -(-len(wave) // _COLUMNS))
        n_fft = 1024 * 2 ** max(0, math.ceil(math.log2(recording.rate_hz / 24000)))
        log_mel = LogMel(LogMelParameters(_BANDS, n_fft, hop), recording.rate_hz)
        return cls(path, wave, recording.rate_hz, log_mel(wave), hop)

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.wave) / self.rate_hz

    @property
    def peak(self) -> float:
        """The largest sample."""
        return float(np.abs(self.wave).max())

    @property
    def loudest_db(self) -> float:
        """The level of all but the loudest thousandth of the spectrogram."""
        return float(np.quantile(self.levels_db, 0.999))

    @property
    def ticks(self) -> tuple[AxisTick, ...]:
        """Round frequencies beside the spectrogram."""
        inside = [hz for hz in _TICKS_HZ if hz < 0.95 * self.rate_hz / 2]
        return tuple(AxisTick(self._from_top(hz), _frequency(hz)) for hz in inside)

    def overlay(self, why: Explanation) -> NDArray[np.float64]:
        """What raised the score at each point of the spectrogram, shape (columns, bands)."""
        times_s = np.arange(len(self.levels_db)) * self.hop / self.rate_hz
        centres = mel_frequencies(_BANDS + 2, 0.0, self.rate_hz / 2)[1:-1]
        return why.at(np.minimum(times_s, why.times_s[-1] - 1e-9), centres)

    def box(self, part: Part) -> Box:
        """Where a part lies on the spectrogram."""
        left = min(part.start_s / self.seconds, 1.0)
        right = min(part.end_s / self.seconds, 1.0)
        top, bottom = self._from_top(part.high_hz), self._from_top(part.low_hz)
        return Box(round(100 * left, 2), top, round(100 * (right - left), 2),
                   round(bottom - top, 2))  # fmt: skip

    def flac(self, gain: float) -> bytes:
        """The sound, 16 bits."""
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, np.clip(self.wave * gain, -1, 1), self.rate_hz, "PCM_16",
                        format="FLAC")  # fmt: skip
        return file.getvalue()

    def _from_top(self, hz: float) -> float:
        """Place of a frequency, in percent from the top of the spectrogram."""
        highest = float(hz_to_mel(self.rate_hz / 2))
        half_band = 0.5 * highest / (_BANDS + 1)
        share = (float(hz_to_mel(hz)) - half_band) / (highest - 2 * half_band)
        return round(100 * (1 - min(1.0, max(0.0, share))), 2)


class _Nearest:
    """Which normal recording each clip of a set is shown beside."""

    def __init__(self, scored: ScoredSet) -> None:
        self._scored = scored
        self._names: dict[int, Clip | None] = {}
        self._spectra: dict[str, list[tuple[Clip, NDArray[np.float32]]]] = {}
        self._channel = _channel_of(scored.detector)
        self.heading = "Most similar normal clip"

    def of(self, i: int, heard: _Heard) -> Clip | None:
        """The clip, or None where none is known whose recording can be found."""
        if not self._scored.normal_clips:
            return None
        clip = self._scored.clips[i]
        if named := self._remembered(i):
            path = self._scored.paths.get((named.machine, named.file_name))
            if path is not None:
                self.heading = "Nearest normal clip"
                return Clip(path, named.machine)
        return self._most_similar(clip, heard)

    def _remembered(self, i: int) -> Clip | None:
        if i not in self._names:
            (self._names[i],) = self._scored.detector.nearest_normal(self._scored.one(i))
        return self._names[i]

    def _most_similar(self, clip: Clip, heard: _Heard) -> Clip | None:
        own = heard.levels_db.mean(axis=0)
        others = [
            (other, spectrum)
            for other, spectrum in self._mean_spectra(clip.machine)
            if other.path != clip.path
        ]
        same = [each for each in others if each[0].section == clip.section] or others
        if not same:
            return None
        distances = [float(np.square(spectrum - own).sum()) for _, spectrum in same]
        return same[int(np.argmin(distances))][0]

    def _mean_spectra(self, machine: str) -> list[tuple[Clip, NDArray[np.float32]]]:
        """Normal clips of a machine type and their mean log-mel spectra."""
        if machine not in self._spectra:
            clips = [clip for clip in self._scored.normal_clips if clip.machine == machine]
            found = []
            for clip in clips[:: max(1, -(-len(clips) // _CANDIDATES))]:
                try:
                    heard = _Heard.read(clip.path, self._channel)
                except UserError as error:
                    log.warning("%s; the page shows other normal clips", error)
                else:
                    found.append((clip, heard.levels_db.mean(axis=0)))
            self._spectra[machine] = found
        return self._spectra[machine]


def _sentence(why: Explanation, seconds: float) -> str:
    """Where the score comes from, in words."""
    parts = why.parts()
    if not parts:
        return "No part of the clip stands out from what is usual."
    return f"What raises the score most: {'; '.join(_part_text(p, seconds) for p in parts)}."


def _part_text(part: Part, seconds: float) -> str:
    is_whole = part.start_s < 0.05 * seconds and part.end_s > 0.95 * seconds
    time = "all the time" if is_whole else f"{part.start_s:.2f} s to {part.end_s:.2f} s"
    return f"{time}, {_frequency(part.low_hz)} to {_frequency(part.high_hz)}"


def _frequency(hz: float) -> str:
    return f"{hz / 1000:.3g} kHz" if hz >= 1000 else f"{hz:.0f} Hz"
