"""Sound files of any names as clips: a folder, some files, or both."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from asd.audio.clip_set import ClipSet, FeatureSource
from asd.audio.features import BatchFeature, Feature, Features, PreparedFeature
from asd.audio.recording import check_is_file, is_finite, read_recording
from asd.audio.store import compute_batch
from asd.clips import Clip
from asd.errors import UserError

SUFFIXES = (
    ".wav",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aiff",
    ".aif",
    ".au",
    ".caf",
    ".w64",
)
"""Endings of files that are taken from folders; files named one by one may have any."""

MACHINE = "recordings"
"""Machine type of clips of which nothing is known."""


def recordings(
    where: str | Path | Iterable[str | Path],
    *,
    machine: str = MACHINE,
    label: str | None = None,
    rate_hz: int | None = None,
) -> ClipSet:
    """Sound files as clips of one machine, whatever their names.

    Parameters
    ----------
    where
        A folder, searched with its subfolders, a file, or several of either. Hidden files and
        files of other kinds are left out of folders.
    machine
        What the machine is called.
    label
        "normal" or "anomaly", where that is known of all.
    rate_hz
        Sampling rate to bring all recordings to; None takes the lowest that any of them has.

    Raises
    ------
    UserError
        A folder or file is missing, or there is no sound file.

    Examples
    --------
    >>> import asd
    >>> pump = asd.recordings(getfixture("sounds"), machine="pump")
    >>> len(pump), pump[0].machine
    (6, 'pump')
    """
    places = [where] if isinstance(where, (str, Path)) else list(where)
    paths = [path for place in places for path in _sound_files(Path(place))]
    if not paths:
        shown = ", ".join(map(str, places)) or "no path"
        raise UserError(f"{shown}: no sound file there; it looks for {', '.join(SUFFIXES)}")
    clips = [Clip(path, machine, label=label) for path in dict.fromkeys(paths)]
    return ClipSet(clips, computed_features(rate_hz))


def computed_features(rate_hz: int | None = None) -> FeatureSource:
    """Features that are computed from the recordings each time, and stored nowhere.

    Parameters
    ----------
    rate_hz
        Sampling rate to bring all recordings to; None takes the lowest that any of them has.
    """

    def source(clips: Sequence[Clip], feature: Feature) -> Features:
        rate = rate_hz or min(_rate(clip.path) for clip in clips)
        if isinstance(feature, PreparedFeature):
            feature.prepare(rate)
        if isinstance(feature, BatchFeature):
            values = list(_computed_in_batches(clips, feature, rate))
        else:
            values = [_compute(clip, feature, rate) for clip in clips]
        lengths = np.array([len(one) for one in values], dtype=np.int64)
        return Features(np.concatenate(values), np.cumsum(lengths) - lengths, lengths, rate)

    return source


def _rate(path: Path) -> int:
    """The sampling rate of a recording in Hz."""
    check_is_file(path)
    try:
        return int(soundfile.info(str(path)).samplerate)
    except (OSError, soundfile.LibsndfileError):
        return read_recording(path).rate_hz  # which says what is wrong, or knows more headers


def _computed_in_batches(
    clips: Sequence[Clip], feature: BatchFeature, rate_hz: int
) -> Iterator[Any]:
    """Values of each clip in order; only the waves of one batch are in memory."""
    paths = iter([clip.path for clip in clips])
    # The mean rate since the start, as batches come in bursts.
    with tqdm(total=len(clips), unit="clip", leave=False, delay=1, smoothing=0.0) as bar:
        while batch := list(islice(paths, feature.batch_size)):
            waves = [(path, read_recording(path, rate_hz=rate_hz).wave) for path in batch]
            for path, values in zip(batch, compute_batch(feature, waves, rate_hz), strict=True):
                _check_finite(path, values)
                yield values
            bar.update(len(batch))


def _compute(clip: Clip, feature: Feature, rate_hz: int) -> Any:
    wave = read_recording(clip.path, rate_hz=rate_hz).wave
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            values = feature.compute(wave, rate_hz)
    except UserError as error:
        raise UserError(f"{clip.path}: {error}") from None
    _check_finite(clip.path, values)
    return values


def _check_finite(path: Path, values: Any) -> None:
    if not is_finite(values):
        raise UserError(f"{path}: its features are not finite; scale its samples down or remove it")


def _sound_files(place: Path) -> list[Path]:
    if place.is_dir():
        found = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
        return [path for path in found if path.is_file() and not _is_hidden(path, place)]
    if not place.exists():
        raise UserError(f"{place}: no such file or folder; check the path")
    return [place]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
