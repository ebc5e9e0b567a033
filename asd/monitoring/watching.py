"""Where a stream comes from: files as they appear in a folder, or samples from a pipe."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from asd.audio import wav
from asd.audio.recording import Recording, can_resample, read_recording
from asd.audio.recordings import SUFFIXES
from asd.errors import UserError
from asd.monitoring.scoring import Scorer
from asd.monitoring.stream import Stream
from asd.words import utf8_name

Line = dict[str, Any]
"""What is said of a window, as JSON knows it."""

POLL_S = 0.5
"""Time between looks into the folder."""

SETTLE_S = 2.0
"""A file that has not changed for so long is taken for written."""

PATIENCE_S = 30.0
"""A file that cannot be read is given up when it has not changed for so long."""

_BLOCK_BYTES = 1 << 16


def judge_windows(scorer: Scorer, stream: Stream, recording: Recording, name: str) -> list[Line]:
    """A line for each window of a recording at the detector's rate.

    Raises
    ------
    UserError
        It cannot be scored.
    """
    found = scorer.score_recording(recording, Path(name), name)
    assert found.whole is not None
    return [
        line_of(stream, name, part.start_s, part.end_s, part.score)
        for part in found.windows or (found.whole,)
    ]


def line_of(stream: Stream, name: str, start_s: float, end_s: float, score: float) -> Line:
    """What is said of a window."""
    said = stream.judge(score, end_s - start_s)
    return {
        "file": name,
        "start_s": round(start_s, 3),
        "end_s": round(end_s, 3),
        "score": _short(score),
        "smoothed": _short(said.smoothed),
        "p_value": round(said.p_value, 5),
        "decision": int(said.decision),
        "alarm": said.alarm,
        "shift": _short(said.shift),
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")


# --- samples from a pipe --------------------------------------------------------------------------


def watch_samples(
    scorer: Scorer, stream: Stream, source: IO[bytes], rate_hz: int, channels: int
) -> Iterator[Line]:
    """Score signed 16-bit little-endian samples, channels in turn, window by window, to their end.

    What is left at the end is scored where it is half a window or longer.

    Parameters
    ----------
    source
        A pipe, such as standard input.
    rate_hz, channels
        Of the samples.

    Raises
    ------
    UserError
        The rate is too far from the detector's, or a window cannot be scored.
    """
    if not can_resample(rate_hz, scorer.rate_hz):
        raise UserError(
            f"--rate: {rate_hz} Hz cannot be brought to the detector's {scorer.rate_hz} Hz; give "
            "the rate of the samples"
        )
    scorer.warn_of_low_rate("standard input", rate_hz)
    resampler = _Resampler(rate_hz, scorer.rate_hz, channels)
    width = round(scorer.own.window_s * scorer.rate_hz)
    waiting: list[NDArray[np.float32]] = []
    count = done = 0
    for block in _sample_blocks(source, channels):
        waiting.append(resampler.next(block, is_last=len(block) == 0))
        count += waiting[-1].shape[1]
        is_end = len(block) == 0
        while count >= width or (is_end and 2 * count >= width):
            wave = np.concatenate(waiting, axis=1)
            window, rest = wave[:, :width], wave[:, width:]
            waiting, count = [rest], rest.shape[1]
            score, _ = scorer.window_scores(window)
            end = done + window.shape[1]
            yield line_of(stream, "-", done / scorer.rate_hz, end / scorer.rate_hz, score)
            done = end


def _sample_blocks(source: IO[bytes], channels: int) -> Iterator[NDArray[np.float32]]:
    """Samples of shape (samples, channels), full scale 1; an empty block at the end."""
    frame = 2 * channels
    left = b""
    read: Callable[[int], bytes] = getattr(source, "read1", source.read)  # gives what there is
    while content := read(_BLOCK_BYTES):
        content = left + content
        whole = len(content) // frame * frame
        left = content[whole:]
        if whole:
            samples = np.frombuffer(content[:whole], dtype="<i2").reshape(-1, channels)
            yield samples.astype(np.float32) / np.float32(32768)
    yield np.empty((0, channels), dtype=np.float32)


class _Resampler:
    """Brings blocks of samples to another rate as if they were one recording."""

    def __init__(self, rate_hz: int, wanted_hz: int, channels: int) -> None:
        import soxr

        self._stream = (
            soxr.ResampleStream(rate_hz, wanted_hz, channels, dtype="float32", quality="HQ")
            if rate_hz != wanted_hz
            else None
        )

    def next(self, samples: NDArray[np.float32], is_last: bool) -> NDArray[np.float32]:
        """The next samples, shape (channels, samples), of a block of shape (samples, channels)."""
        if self._stream is None:
            return samples.T
        found: NDArray[np.float32] = self._stream.resample_chunk(samples, last=is_last)
        return found.reshape(-1, samples.shape[1]).T


# --- files in a folder ----------------------------------------------------------------------------


_Version = tuple[int, int]
"""Size of a file, and when it was written."""


@dataclass
class _Waiting:
    """A file that may still be written to."""

    version: "_Version | None" = None
    changed_at: float = 0.0
    reason: str = ""


@dataclass
class FolderWatch:
    """Finds recordings in a folder when they are complete.

    A file counts as complete when it has not changed for a while and, of a wav file, all sound
    that its header announces is there. One that cannot be read is tried again until it has not
    changed for longer. A file that is written anew is a new recording.

    Parameters
    ----------
    folder
        Searched with its subfolders, without hidden files.
    with_existing
        Whether files that are there already count as new.
    """

    folder: Path
    with_existing: bool = False
    settle_s: float = SETTLE_S
    patience_s: float = PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    _waiting: dict[Path, _Waiting] = field(default_factory=dict)
    _done: dict[Path, _Version | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder; make it, or check the path")
        if not self.with_existing:
            self._done = {path: _version(path) for path in self._sound_files()}

    def complete(self) -> Iterator[tuple[str, Recording | None, str]]:
        """Name, recording and "" of each file that is complete now; or None and the reason."""
        for path in self._sound_files():
            if path in self._done and self._done[path] == _version(path):
                continue
            name = utf8_name(path.relative_to(self.folder).as_posix())
            state = self._waiting.setdefault(path, _Waiting(changed_at=self.clock()))
            still_s = self._still_for(path, state)
            if still_s < self.settle_s or (state.reason and still_s < self.patience_s):
                continue
            try:
                if not state.reason and not _is_whole(path):
                    raise UserError("is not complete")
                recording = read_recording(path)
            except (UserError, OSError) as error:
                if not state.reason and still_s < self.patience_s:
                    state.reason = str(error)
                    continue
                self._finish(path, state)
                yield name, None, str(error).removeprefix(f"{path}: ")
                continue
            self._finish(path, state)
            yield name, recording, ""

    def _still_for(self, path: Path, state: _Waiting) -> float:
        """Seconds since the file changed; 0 where it is gone."""
        version = _version(path)
        if version is None:
            self._waiting.pop(path, None)
            return 0.0
        now = self.clock()
        if version != state.version:
            state.version, state.changed_at, state.reason = version, now, ""
        return now - state.changed_at

    def _finish(self, path: Path, state: _Waiting) -> None:
        self._done[path] = state.version  # if it has changed since, it is looked at again
        self._waiting.pop(path, None)

    def _sound_files(self) -> list[Path]:
        found = []
        for path in self.folder.rglob("*"):
            inside = path.relative_to(self.folder).parts
            if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in inside):
                found.append(path)
        return sorted(found)


def _version(path: Path) -> _Version | None:
    """What tells a file from what it was before; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _is_whole(path: Path) -> bool:
    """Whether a wav file holds all sound that its header announces; True for other kinds."""
    if path.suffix.lower() != ".wav":
        return True
    try:
        wav.find_sound(path.read_bytes())
    except UserError:
        return False
    return True


def watch_folder(
    scorer: Scorer,
    stream: Stream,
    watch: FolderWatch,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Line]:
    """Lines of the files that appear in a folder, for ever."""
    while True:
        for name, recording, reason in watch.complete():
            if recording is None:
                yield {"file": name, "error": reason}
                continue
            try:
                heard = scorer.at_its_rate(recording, name)
                yield from judge_windows(scorer, stream, heard, name)
            except UserError as error:
                yield {"file": name, "error": str(error).removeprefix(f"{name}: ")}
        sleep(POLL_S)
