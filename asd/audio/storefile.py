"""The file of stored features: values, then an index of them, both with checksums.

A file is an 8-byte magic, padded to 64 bytes; the values of all clips end to end, little endian;
the index in JSON; then where the index begins, its checksum, and the magic again (24 bytes).
"""

import json
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from asd.audio.features import Features
from asd.errors import UserError
from asd.files import write_aside

_MAGIC = b"ASDROWS2"
_VALUES = 64  # where they begin
_END = struct.Struct("<QQ8s")
_SCALE = 2.0**-15

_MAPPED: WeakValueDictionary[tuple[int, ...], "np.memmap[Any, Any]"] = WeakValueDictionary()


class DamagedStore(Exception):  # noqa: N818, what it says is a state
    """A file that is not as it was written; its text says why."""


class FileState(NamedTuple):
    """What the system says of a file without reading it; a change of content changes it."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "FileState":
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class Source(NamedTuple):
    """The file that a clip's values were computed from.

    Parameters
    ----------
    state
        None where the file was so new that another change might leave the same times.
    content
        Hash of all its bytes.
    channels
        Its number of channels.
    """

    state: FileState | None
    content: str
    channels: int


@dataclass(frozen=True)
class Index:
    """What a store holds.

    Parameters
    ----------
    key
        All that values depend on beside the files, as text.
    rate_hz
        Sampling rate that values were computed at.
    dtype, frame_shape, scale
        Of the values; see `Features`.
    sources, lengths, checksums
        Of each clip: its file, number of frames, and the checksum of its values.
    """

    key: str
    rate_hz: int
    dtype: str
    frame_shape: tuple[int, ...]
    scale: float | None
    sources: tuple[Source, ...]
    lengths: tuple[int, ...]
    checksums: tuple[str, ...]


def write_store(
    path: Path,
    key: str,
    rate_hz: int,
    clips: Iterable[tuple[Path, Source, NDArray[Any]]],
    in_16_bits: bool,
) -> bool:
    """Write a store, clip by clip.

    Parameters
    ----------
    clips
        Path, for messages, file and values of each clip.
    in_16_bits
        Keep float32 values in int16.

    Returns
    -------
    bool
        Whether the store is complete; not so where a clip's values do not fit into 16 bits.

    Raises
    ------
    UserError
        The values of two clips differ in more than the number of frames.
    """
    sources, lengths, checksums = [], [], []
    first: tuple[Path, NDArray[Any]] | None = None
    with path.open("wb") as file:
        file.write(_MAGIC.ljust(_VALUES, b"\0"))
        for clip, source, values in clips:
            stored = _in_16_bits(values) if in_16_bits else _little_endian(values)
            if stored is None:
                return False
            first = first or (clip, stored[:0])
            _check_shape(clip, stored, *first)
            file.write(stored.data)
            sources.append(source)
            lengths.append(len(stored))
            checksums.append(_checksum(stored))
        assert first is not None, "there are no clips"
        index = Index(
            key, rate_hz, first[1].dtype.str, first[1].shape[1:], _SCALE if in_16_bits else None,
            tuple(sources), tuple(lengths), tuple(checksums),
        )  # fmt: skip
        _write_index(file, index)
    return True


def _in_16_bits(values: NDArray[np.float32]) -> NDArray[np.int16] | None:
    """Samples of full scale 1 as numbers of 16 bits; None where that would change one."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values * np.float32(1 / _SCALE)
        rounded = scaled.astype("<i2")
    return rounded if np.array_equal(rounded, scaled) else None


def _little_endian(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))


def _check_shape(
    clip: Path, values: NDArray[Any], first: Path, of_first: NDArray[Any]
) -> None:  # fmt: skip
    if (values.dtype, values.shape[1:]) != (of_first.dtype, of_first.shape[1:]):
        raise UserError(
            f"{clip}: its features are of shape (frames, {', '.join(map(str, values.shape[1:]))}) "
            f"and {values.dtype}, those of {first} (frames, "
            f"{', '.join(map(str, of_first.shape[1:]))}) and {of_first.dtype}; leave one out"
        )


def _write_index(file: BinaryIO, index: Index) -> None:
    start = file.tell()
    text = json.dumps(asdict(index)).encode()
    file.write(text + _END.pack(start, xxh3_64_intdigest(text), _MAGIC))


def _checksum(values: NDArray[Any]) -> str:
    return xxh3_64_hexdigest(values.data) if values.size else ""


def read_index(path: Path) -> Index | None:
    """The index of a store; None where there is no store, or one of another version.

    Raises
    ------
    DamagedStore
        The file is not as it was written.
    """
    try:
        file = path.open("rb")
    except OSError:
        return None
    with file:
        magic = file.read(len(_MAGIC))
        if magic != _MAGIC and magic[:-1] == _MAGIC[:-1]:
            return None
        size = os.fstat(file.fileno()).st_size
        if magic != _MAGIC or size < _VALUES + _END.size:
            raise DamagedStore("it does not begin as it should")
        file.seek(size - _END.size)
        start, checksum, magic = _END.unpack(file.read(_END.size))
        if magic != _MAGIC or not _VALUES <= start <= size - _END.size:
            raise DamagedStore("it does not end as it should")
        file.seek(start)
        text = file.read(size - _END.size - start)
    if xxh3_64_intdigest(text) != checksum:
        raise DamagedStore("its index changed")
    index = _parse_index(text)
    if start - _VALUES != _values_bytes(index):
        raise DamagedStore("its values have another size than its index says")
    return index


def _parse_index(text: bytes) -> Index:
    """The index in a text that this program wrote, or that somebody made to look so."""
    try:
        found = json.loads(text)
        sources = tuple(
            Source(state and FileState(*state), content, channels)
            for state, content, channels in found.pop("sources")
        )
        lengths = tuple(map(int, found.pop("lengths")))
        shape = tuple(map(int, found.pop("frame_shape")))
        checksums = tuple(found.pop("checksums"))
        index = Index(
            **found, sources=sources, lengths=lengths, frame_shape=shape, checksums=checksums
        )
        is_sound = np.dtype(index.dtype).kind in "fiu" and min((*lengths, *shape), default=0) >= 0
        if not is_sound or not len(sources) == len(lengths) == len(checksums):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        raise DamagedStore("its index is none") from None
    return index


def _values_bytes(index: Index) -> int:
    values = sum(index.lengths)
    for size in index.frame_shape:
        values *= size
    return values * np.dtype(index.dtype).itemsize


def map_features(path: Path, index: Index) -> Features:
    """The features in a store, memory-mapped, whose checksums are right.

    They are checked once per process; all who ask get the same array, so that a GPU needs it once.

    Raises
    ------
    DamagedStore
        Values are not as they were written.
    """
    stat = path.stat()
    key = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
    rows = _MAPPED.get(key)
    if rows is None:
        shape = (sum(index.lengths), *index.frame_shape)
        rows = np.memmap(path, dtype=index.dtype, mode="r", offset=_VALUES, shape=shape)
        _check_values(np.asarray(rows), index)
        _MAPPED[key] = rows
    lengths = np.asarray(index.lengths, dtype=np.int64)
    return Features(rows, np.cumsum(lengths) - lengths, lengths, index.rate_hz, index.scale)


def _check_values(rows: NDArray[Any], index: Index) -> None:
    for number, (values, checksum) in enumerate(
        zip(_split(rows, index.lengths), index.checksums, strict=True)
    ):
        if _checksum(values) != checksum:
            raise DamagedStore(f"values of clip {number + 1} changed")


def _split(rows: NDArray[Any], lengths: Iterable[int]) -> Iterator[NDArray[Any]]:
    start = 0
    for length in lengths:
        yield rows[start : start + length]
        start += length


def write_sources(path: Path, index: Index, sources: Iterable[Source]) -> None:
    """Put other sources into a store's index, in a copy that takes its place.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    with write_aside(path) as aside, path.open("rb") as old, aside.open("wb") as new:
        left = _VALUES + _values_bytes(index)
        while left and (block := old.read(min(left, 2**20))):
            left -= new.write(block)
        _write_index(new, replace(index, sources=tuple(sources)))
