"""Recordings of any format, channels and sampling rate."""

import io
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from asd.audio import wav
from asd.audio.channels import choose_channels
from asd.errors import UserError

_BLOCK_SAMPLES = 1 << 23
_MOST_TIMES = 256  # that one sampling rate may be of the other
_MOST_SAMPLES = 1 << 30  # of all channels, 4 GiB: compressed silence of a few MB may hold far more


class Recording(NamedTuple):
    """A waveform of shape (channels, samples), float32 with full scale 1, and its rate in Hz."""

    wave: NDArray[np.float32]
    rate_hz: int


def read_recording(path: Path, channel: str = "all", rate_hz: int | None = None) -> Recording:
    """Read a sound file of any format that libsndfile knows: wav, flac, ogg, mp3, aiff and more.

    Parameters
    ----------
    channel
        "left", "right", a number from 1, "mix" (the mean of all), "all", or another that
        `asd.audio.channels.plain_channel` knows.
    rate_hz
        Sampling rate to have; None leaves the file's own.

    Raises
    ------
    UserError
        The file cannot be read, contradicts itself, lacks the channel, or holds samples that are
        NaN or infinite.
    """
    return decode_recording(read_content(path)[0], path, channel, rate_hz)


def read_content(path: Path) -> tuple[bytes, os.stat_result]:
    """All bytes of a file, and what the system says of it.

    Raises
    ------
    UserError
        It is missing, cannot be read, is no regular file (a pipe or a device might never end), or
        changed while it was read.
    """
    check_is_file(path)
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            content = file.read()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); replace or remove it"
        ) from None
    if (before.st_size, before.st_mtime_ns) != (len(content), after.st_mtime_ns):
        raise UserError(f"{path}: changed while it was read; start again")
    return content, after


def check_is_file(path: Path) -> None:
    """Refuse what cannot be read to an end, before it is opened.

    Raises
    ------
    UserError
        The path leads nowhere, or to a folder, pipe or device.
    """
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); replace or remove it"
        ) from None
    if not is_file:
        raise UserError(
            f"{path}: cannot be read, it is not a file (but a folder, pipe or device); remove it"
        )


def decode_recording(
    content: bytes, path: Path, channel: str = "all", rate_hz: int | None = None
) -> Recording:
    """The recording in the bytes of a file; `path` is for messages, and its ending must agree.

    Raises
    ------
    UserError
        See `read_recording`.
    """
    try:
        wave, own_rate_hz = _decode(content, must_be_wav=path.suffix.lower() == ".wav")
        wanted_hz = rate_hz or own_rate_hz
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused
            wave = choose_channels(wave, channel)
            if wanted_hz != own_rate_hz:
                wave = resample(wave, own_rate_hz, wanted_hz)
        if channel == "mix" or wanted_hz != own_rate_hz:
            _check_finite(wave)  # sums of samples near the largest float are infinite
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Recording(wave, wanted_hz)


def _decode(content: bytes, must_be_wav: bool) -> Recording:
    if must_be_wav or not content or wav.is_wav(content):
        sound = wav.find_sound(content)
        if sound.is_plain:
            wave = wav.decode(content, sound)
            if sound.tag == wav.FLOAT:
                _check_finite(wave)
            return Recording(wave, sound.sample_rate_hz)
    try:
        samples, rate_hz = _read_in_blocks(content)
    except soundfile.LibsndfileError as error:
        reason = str(error.error_string).rstrip(".")
        raise UserError(
            f"cannot be read as a {'wav' if must_be_wav else 'sound'} file ({reason}); replace it"
        ) from None
    if len(samples) == 0:
        raise UserError("holds no sound (0 samples); replace or remove it")
    _check_finite(samples)
    return Recording(samples.T, rate_hz)


def _read_in_blocks(content: bytes) -> tuple[NDArray[np.float32], int]:
    """Samples of shape (samples, channels) and their rate, by libsndfile.

    A damaged header can claim any number of samples; in blocks, memory is taken for those that
    there are.
    """
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        most, blocks = max(_BLOCK_SAMPLES // file.channels, 1), []
        while len(block := file.read(most, dtype="float32", always_2d=True)):
            blocks.append(block)
            if sum(block.size for block in blocks) > _MOST_SAMPLES:
                raise UserError(
                    f"holds more than {_MOST_SAMPLES:,} samples, too many to read at once; split it"
                )
        if not blocks:
            blocks = [np.empty((0, file.channels), dtype=np.float32)]
        return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks)), file.samplerate


def _check_finite(samples: NDArray[np.float32]) -> None:
    if not is_finite(samples):
        raise UserError("holds samples that are NaN or infinite; replace it")


def is_finite(values: NDArray[Any]) -> bool:
    """Whether no value is NaN or infinite."""
    # NaN and infinity survive adding up, which takes a fraction of the time of looking at each.
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def can_resample(rate_hz: int, wanted_hz: int) -> bool:
    """Whether two sampling rates are near enough for one to be brought to the other."""
    return 1 / _MOST_TIMES <= wanted_hz / rate_hz <= _MOST_TIMES


def resample(wave: NDArray[np.float32], rate_hz: int, wanted_hz: int) -> NDArray[np.float32]:
    """A waveform of shape (channels, samples) at another sampling rate.

    By the SoX resampler, as librosa does by default: on tones up to 0.85 of the lower rate's half,
    errors stay 64 to 140 dB below the tone (44 dB with SciPy's polyphase filter, which takes two to
    five times as long), and what lies 5 % above that half comes through at -130 dB (-12 dB).

    Raises
    ------
    UserError
        The rates are too far apart, or no sample is left. The message does not name the file.
    """
    import soxr  # loaded only where it is needed

    if not can_resample(rate_hz, wanted_hz):
        raise UserError(
            f"is sampled at {rate_hz} Hz, it says, which cannot be brought to {wanted_hz} Hz; "
            "replace it, or mend its header"
        )
    changed: NDArray[np.float32] = soxr.resample(wave.T, rate_hz, wanted_hz, quality="HQ")
    if len(changed) == 0:
        raise UserError(f"is too short for {wanted_hz} Hz ({wave.shape[1]} samples); remove it")
    return changed.T
