"""Wav files, checked before they are believed."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asd.errors import UserError

CHANNELS = ("left", "right", "mix")

_PCM = 1
_FORMAT = struct.Struct("<HHIIHH")  # tag, channels, rate in Hz, bytes/s, bytes/frame, bits/sample


@dataclass(frozen=True)
class WavHeader:
    """What a wav file says of itself."""

    sample_rate_hz: int
    channels: int
    samples: int


def read_header(path: Path) -> WavHeader:
    """Read and check a file's header.

    Raises
    ------
    UserError
        The file is missing, empty, no wav file, shorter than its header says, or without sound.
    """
    try:
        _find_sound(path)
        info = soundfile.info(str(path))
    except (OSError, soundfile.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "error_string", error)
        raise UserError(f"{path}: cannot be read as a wav file ({reason}); replace it") from None
    if info.frames == 0:
        raise UserError(f"{path}: holds no sound (0 samples); replace or remove it")
    return WavHeader(info.samplerate, info.channels, info.frames)


def read_samples(path: Path, channel: str = "left") -> NDArray[np.float32]:
    """Read one channel.

    Parameters
    ----------
    channel
        "left" (the first, in the 2026 challenge the microphone near the machine; the only one of
        a mono file), "right", or "mix" (the mean of all).

    Returns
    -------
    NDArray
        Shape (samples,), float32 in [-1, 1).

    Raises
    ------
    UserError
        The file cannot be read, or holds NaN or infinite values.
    """
    try:
        samples = _read_pcm16(path)
        if samples is None:
            samples = _read_any(path)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UserError(f"{path}: cannot be read as a wav file ({error}); replace it") from None
    chosen: NDArray[np.float32]
    if channel == "mix":
        chosen = samples.mean(axis=1)
    else:
        chosen = np.ascontiguousarray(samples[:, CHANNELS.index(channel)])
    return chosen


def _read_pcm16(path: Path) -> NDArray[np.float32] | None:
    """Samples of a plain 16-bit file, shape (samples, channels); None for any other kind.

    Nearly every file is one, and libsndfile takes four times as long to convert it.
    """
    sound = _find_sound(path)
    if len(sound.form) < _FORMAT.size:
        return None
    tag, channels, _, _, frame_bytes, bits = _FORMAT.unpack_from(sound.form)
    if (tag, bits) != (_PCM, 16) or channels == 0 or frame_bytes != 2 * channels:
        return None
    count = sound.length // frame_bytes * channels
    integers = np.fromfile(path, dtype="<i2", count=count, offset=sound.start)
    return (integers * np.float32(1 / 32768)).reshape(-1, channels)


def _read_any(path: Path) -> NDArray[np.float32]:
    samples: NDArray[np.float32]
    samples, _ = soundfile.read(str(path), dtype="float32", always_2d=True)
    # One pass over the sum instead of one over each value: NaN and infinity survive adding up.
    with np.errstate(invalid="ignore"):
        total = np.sum(samples, dtype=np.float64)
    if not np.isfinite(total):
        raise UserError(f"{path}: holds samples that are NaN or infinite; replace it")
    return samples


@dataclass(frozen=True)
class _Sound:
    """Where the sound of a file begins, its length in bytes, and the content of "fmt "."""

    start: int
    length: int
    form: bytes


def _find_sound(path: Path) -> _Sound:
    """Find the sound; refuse a file shorter than it claims, which libsndfile reads silently."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise UserError(f"{path}: is empty (0 bytes); replace it")
        if file.read(4) != b"RIFF":
            raise UserError(f"{path}: is not a wav file (no RIFF header); convert or remove it")
        file.seek(12)
        form = b""
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            start = file.tell()
            if name == b"data":
                missing = start + length - size
                if missing > 0:
                    raise UserError(
                        f"{path}: is truncated, {missing} of {length} bytes of sound are missing; "
                        "copy or download it again"
                    )
                return _Sound(start, length, form)
            if name == b"fmt ":
                form = file.read(_FORMAT.size)
            file.seek(start + length + length % 2)
    raise UserError(f"{path}: is truncated, it ends before its sound begins; copy it again")
