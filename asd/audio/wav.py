"""Wav files, checked before they are believed."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asd.errors import UserError

CHANNELS = ("left", "right", "mix")


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
        _check_length(path)
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
        samples, _ = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UserError(f"{path}: cannot be read as a wav file ({error}); replace it") from None
    chosen: NDArray[np.float32]
    if channel == "mix":
        chosen = samples.mean(axis=1)
    else:
        chosen = np.ascontiguousarray(samples[:, CHANNELS.index(channel)])
    # One pass over the sum instead of one over each value: NaN and infinity survive adding up.
    with np.errstate(invalid="ignore"):
        total = np.sum(chosen, dtype=np.float64)
    if not np.isfinite(total):
        raise UserError(f"{path}: holds samples that are NaN or infinite; replace it")
    return chosen


def _check_length(path: Path) -> None:
    """Refuse a file that is shorter than it claims, which libsndfile would read without a word."""
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: is empty (0 bytes); replace it")
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            raise UserError(f"{path}: is not a wav file (no RIFF header); convert or remove it")
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", head)
            if name == b"data":
                missing = file.tell() + length - size
                if missing > 0:
                    raise UserError(
                        f"{path}: is truncated, {missing} of {length} bytes of sound are missing; "
                        "copy or download it again"
                    )
                return
            file.seek(length + length % 2, 1)
    raise UserError(f"{path}: is truncated, it ends before its sound begins; copy it again")
