"""Wav files (RIFF, RF64), checked before they are believed.

The layout of RIFF and its chunks: Microsoft and IBM, "Multimedia Programming Interface and Data
Specifications 1.0", 1991; of RF64 and its chunk "ds64": EBU Tech 3306, 2009.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asd.errors import UserError

PCM, FLOAT = 1, 3
_EXTENSIBLE = 0xFFFE
_FIXED_WIDTH = (PCM, FLOAT, 6, 7)  # the last two are A-law and mu-law, one byte a sample

_FORMAT = struct.Struct("<HHIIHH")  # tag, channels, rate in Hz, bytes/s, bytes/frame, bits/sample
_CHUNK = struct.Struct("<4sI")  # name, length
_UNKNOWN = 0xFFFFFFFF
_STREAMED = range(0x7FFFF000, 0x80000001)
"""Lengths that programs write to a pipe, beside 0 and 0xFFFFFFFF."""

_SAMPLES = {
    (PCM, 8): "u1", (PCM, 16): "<i2", (PCM, 24): "u1", (PCM, 32): "<i4",
    (FLOAT, 32): "<f4", (FLOAT, 64): "<f8",
}  # fmt: skip


@dataclass(frozen=True)
class WavSound:
    """How and where the sound of a wav file is stored.

    Parameters
    ----------
    tag
        The coding's number: `PCM`, `FLOAT`, or another.
    channels, sample_rate_hz
        As the header says.
    bits
        Bits that a sample takes in the file: 24 for one of 20 bits.
    start, length
        Its place in the file, in bytes.
    """

    tag: int
    channels: int
    sample_rate_hz: int
    bits: int
    start: int
    length: int

    @property
    def is_plain(self) -> bool:
        """Whether samples are numbers of one width that `decode` reads."""
        return (self.tag, self.bits) in _SAMPLES


def is_wav(content: bytes) -> bool:
    """Whether a file with this content claims to be a wav file."""
    return content[:4] in (b"RIFF", b"RF64", b"BW64")


def find_sound(content: bytes) -> WavSound:
    """Find the sound in a file and check what its header says.

    Sound whose length is not given, as in files that were written to a pipe, goes on to the end
    of the file.

    Raises
    ------
    UserError
        The file is empty, no wav file, cut, without sound, or contradicts itself. The message does
        not name the file.
    """
    if not content:
        raise UserError("is empty (0 bytes); replace it")
    if not is_wav(content):
        raise UserError("is not a wav file (no RIFF header); convert or remove it")
    if not b"WAVE".startswith(content[8:12]):
        raise UserError(
            "cannot be read as a wav file (it is of another kind of RIFF); convert or remove it"
        )
    form, long_length, position = b"", -1, 12
    while position + 8 <= len(content):
        name, length = _CHUNK.unpack_from(content, position)
        position += 8
        if name == b"data":
            if length == _UNKNOWN and long_length >= 0:
                length = long_length
            return _check_sound(content, form, position, length)
        if name == b"fmt ":
            form = content[position : position + length]
        if name == b"ds64" and length >= 16 and position + 16 <= len(content):
            long_length = struct.unpack_from("<q", content, position + 8)[0]
        position += length + length % 2
    raise UserError("is truncated, it ends before its sound begins; copy it again")


def _check_sound(content: bytes, form: bytes, start: int, length: int) -> WavSound:
    if len(form) < _FORMAT.size:
        raise UserError(
            'cannot be read as a wav file (no "fmt " part before its sound); replace it'
        )
    tag, channels, rate_hz, _, frame_bytes, _ = _FORMAT.unpack_from(form)
    if tag == _EXTENSIBLE and len(form) >= 26:
        tag = int.from_bytes(form[24:26], "little")
    is_fixed = tag in _FIXED_WIDTH
    _check_format(form, is_fixed)
    length = _check_length(content, start, length, frame_bytes if is_fixed else 1)
    if length == 0:
        raise UserError("holds no sound (0 samples); replace or remove it")
    bits = 8 * frame_bytes // channels if is_fixed else 0
    return WavSound(tag, channels, rate_hz, bits, start, length)


def _check_length(content: bytes, start: int, length: int, frame_bytes: int) -> int:
    """Bytes of sound from `start` on; all that follow, in whole frames, where it is not given."""
    available = len(content) - start
    end = start + length + length % 2
    is_streamed = length == _UNKNOWN or (length in _STREAMED and length > available)
    if is_streamed or (length == 0 and not _are_chunks(content, end)):
        return available - available % frame_bytes
    if length > available:
        raise UserError(
            f"is truncated, {length - available} of {length} bytes of sound are missing; "
            "copy or download it again"
        )
    if not _are_chunks(content, end):
        raise UserError(
            f"says that its sound is {length} bytes long, but {len(content) - end} bytes follow "
            "that are something else; write or download it again"
        )
    if length % frame_bytes:
        raise UserError(
            f"contradicts itself: its {length} bytes of sound are no multiple of the {frame_bytes} "
            "that a sample of all channels takes; write or download it again"
        )
    return length


def _check_format(form: bytes, is_fixed: bool) -> None:
    """Refuse a description of the sound that contradicts itself."""
    _, channels, rate_hz, second_bytes, frame_bytes, bits = _FORMAT.unpack_from(form)
    if channels == 0 or rate_hz == 0 or frame_bytes == 0:
        raise UserError(
            f"cannot be read as a wav file (its header says {channels} channels, {rate_hz} Hz and "
            f"{frame_bytes} bytes a sample); replace it"
        )
    if not is_fixed:
        return  # samples are packed together, in ways that only the decoder knows
    if frame_bytes != channels * -(-bits // 8):
        raise UserError(
            f"contradicts itself: {channels} channel(s) of {bits} bits do not take the "
            f"{frame_bytes} bytes that its header says; write or download it again"
        )
    if second_bytes not in (0, rate_hz * frame_bytes):
        raise UserError(
            f"contradicts itself: {rate_hz} samples of {frame_bytes} bytes a second are not the "
            f"{second_bytes} bytes that its header says; write or download it again"
        )


def _are_chunks(content: bytes, position: int) -> bool:
    """Whether the rest of a file is nothing, or named chunks that end where the file does."""
    while position < len(content):
        if position + 8 > len(content):
            return False
        name, length = _CHUNK.unpack_from(content, position)
        if not all(32 <= letter < 127 for letter in name):
            return False
        position += 8 + length + length % 2
    return position in (len(content), len(content) + 1)  # the last pad byte is often left out


def decode(content: bytes, sound: WavSound) -> NDArray[np.float32]:
    """Samples of a file whose coding is plain, shape (channels, samples).

    Integers are divided by half their range, so full scale is [-1, 1). Values equal those of
    libsndfile; plain 16 bits, which nearly every file has, take a quarter of its time.
    """
    kind = np.dtype(_SAMPLES[sound.tag, sound.bits])
    raw = np.frombuffer(content, kind, sound.length // kind.itemsize, sound.start)
    if sound.tag == FLOAT:
        with np.errstate(over="ignore"):  # to infinity, which is refused
            samples = raw.astype(np.float32)
    elif sound.bits == 8:
        samples = (raw.astype(np.float32) - 128) * np.float32(2**-7)
    elif sound.bits == 16:
        samples = raw * np.float32(2**-15)
    else:
        samples = _widen(raw) if sound.bits == 24 else raw.astype(np.float32)
        samples *= np.float32(2**-31)
    return samples.reshape(-1, sound.channels).T


def _widen(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Numbers of 24 bits as the upper ones of 32."""
    wide = np.zeros((len(raw) // 3, 4), dtype=np.uint8)
    wide[:, 1:] = raw.reshape(-1, 3)
    return wide.view("<i4")[:, 0].astype(np.float32)
