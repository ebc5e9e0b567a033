"""The feature store: features of a clip set in one memory-mapped file, never stale, never half.

A file is an 8-byte magic, the length of a JSON header (8 bytes, little endian), the header padded
to a multiple of 64 bytes, and the rows of all clips end to end as little-endian float32. The
header names the parameters, and every clip with its size and modification time; a file whose
header is not exactly what is asked for is made anew.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

import fasteners
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from asd.audio.features import Features
from asd.audio.logmel import LogMel, LogMelParameters
from asd.audio.wav import CHANNELS, WavHeader, read_header, read_samples
from asd.clips import Clip
from asd.errors import UserError
from asd.files import write_aside
from asd.memory import reused_memory

_MAGIC = b"ASDROWS1"
_ALIGNMENT = 64

_MAPPED: WeakValueDictionary[tuple[int, ...], "np.memmap[Any, Any]"] = WeakValueDictionary()

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureSpec:
    """What to store of each clip.

    Parameters
    ----------
    logmel
        Parameters of the log-mel frames; None stores the samples themselves.
    channel
        "left", "right" or "mix".
    channels
        Number of channels that every file must have; None for any.
    """

    logmel: LogMelParameters | None
    channel: str = "left"
    channels: int | None = None

    @property
    def row_shape(self) -> tuple[int, ...]:
        return (self.logmel.n_mels,) if self.logmel else ()

    def key(self) -> dict[str, Any]:
        """All that the rows depend on beside the files."""
        kind = {"logmel": asdict(self.logmel)} if self.logmel else {"waveform": True}
        return {**kind, "channel": self.channel}

    def row_count(self, samples: int) -> int:
        return self.logmel.frame_count(samples) if self.logmel else samples


def load_features(clips: Sequence[Clip], spec: FeatureSpec, folder: Path, jobs: int) -> Features:
    """Features of `clips`, from the store below `folder` or computed into it.

    Parameters
    ----------
    clips
        All clips of one machine type's train or test set; the file is named after their folder.
    folder
        Where stores of this machine type lie.
    jobs
        Number of threads to compute with.

    Returns
    -------
    Features
        Memory-mapped, in the order of `clips`.

    Raises
    ------
    UserError
        A file cannot be used (see `asd.audio.wav`), differs from the others in sampling rate, has
        the wrong number of channels, or the store cannot be written.
    """
    path = folder / _store_name(clips, spec)
    wanted = {**spec.key(), "channels": spec.channels, "clips": _fingerprint(clips)}
    if found := _open_store(path, wanted):
        return found
    headers = _check_headers(clips, spec)
    with _locked(path):
        found = _open_store(path, wanted)  # by another process, while this one waited
        return found or _build_store(path, wanted, clips, headers, spec, jobs)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a store; its folder is made where it is missing."""
    lock = fasteners.InterProcessLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"{path.parent}: features cannot be stored here ({error.strerror}); "
            "make it writable or name another --feature_directory"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _store_name(clips: Sequence[Clip], spec: FeatureSpec) -> str:
    folders = "-".join(sorted({clip.path.parent.name for clip in clips}))
    digest = sha256(json.dumps(spec.key(), sort_keys=True).encode()).hexdigest()[:12]
    kind = "logmel" if spec.logmel else "waveform"
    return f"{folders}_{digest}.{kind}"


def _fingerprint(clips: Sequence[Clip]) -> list[list[Any]]:
    try:
        stats = [(f"{clip.machine}/{clip.file_name}", clip.path.stat()) for clip in clips]
    except OSError as error:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); replace or remove it"
        ) from None
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _check_headers(clips: Sequence[Clip], spec: FeatureSpec) -> list[WavHeader]:
    headers = [read_header(clip.path) for clip in clips]
    rate = headers[0].sample_rate_hz
    for clip, header in zip(clips, headers, strict=True):
        if header.sample_rate_hz != rate:
            raise UserError(
                f"{clip.path}: is sampled at {header.sample_rate_hz} Hz, {clips[0].file_name} at "
                f"{rate} Hz; resample it, all clips of a machine type must agree"
            )
        if spec.channels is not None and header.channels != spec.channels:
            raise UserError(
                f"{clip.path}: has {header.channels} channel(s), expected {spec.channels}; "
                f"set --mono {header.channels == 1} if that is how all clips are"
            )
        if spec.channel in CHANNELS[: CHANNELS.index("mix")]:
            _check_channel(clip, header, spec.channel)
    return headers


def _check_channel(clip: Clip, header: WavHeader, channel: str) -> None:
    if CHANNELS.index(channel) >= header.channels:
        raise UserError(
            f"{clip.path}: has no {channel} channel, only {header.channels}; set --channel left"
        )


def _open_store(path: Path, wanted: Mapping[str, Any]) -> Features | None:
    """The features in `path` if they are exactly those wanted, else None."""
    try:
        with path.open("rb") as file:
            header, offset = _read_header(file)
    except (OSError, ValueError):
        return None
    if not isinstance(header, dict) or any(header.get(key) != wanted[key] for key in wanted):
        return None
    lengths = np.asarray(header["lengths"], dtype=np.int64)
    shape = (int(lengths.sum()), *header["row_shape"])
    if path.stat().st_size != offset + 4 * int(np.prod(shape)):
        return None
    rows = _mapped(path, offset, shape)
    return Features(rows, np.cumsum(lengths) - lengths, lengths, header["sample_rate_hz"])


def _mapped(path: Path, offset: int, shape: tuple[int, ...]) -> "np.memmap[Any, Any]":
    """The rows in a file; the same array for all who ask, so that a GPU needs them once."""
    stat = path.stat()
    key = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
    rows = _MAPPED.get(key)
    if rows is None:
        _MAPPED[key] = rows = np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=shape)
    return rows


def _read_header(file: BinaryIO) -> tuple[Any, int]:
    if file.read(8) != _MAGIC:
        raise ValueError("not a feature store")
    length = int.from_bytes(file.read(8), "little")
    if length > os.fstat(file.fileno()).st_size:
        raise ValueError("truncated")
    return json.loads(file.read(length)), 16 + length


def _write_header(file: BinaryIO, header: Mapping[str, Any]) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-(16 + len(text)) % _ALIGNMENT)  # JSON may end in blanks; rows lie aligned
    file.write(_MAGIC + len(text).to_bytes(8, "little") + text)


def _build_store(
    path: Path,
    wanted: Mapping[str, Any],
    clips: Sequence[Clip],
    headers: Sequence[WavHeader],
    spec: FeatureSpec,
    jobs: int,
) -> Features:
    for leftover in path.parent.glob(f".{path.name}.*.part"):  # of runs that were killed
        leftover.unlink(missing_ok=True)
    header = {
        **wanted,
        "lengths": [spec.row_count(h.samples) for h in headers],
        "row_shape": spec.row_shape,
        "sample_rate_hz": headers[0].sample_rate_hz,
    }
    compute = _row_function(spec, headers[0].sample_rate_hz)
    with write_aside(path, durable=False) as aside, aside.open("wb") as file:
        _write_header(file, header)
        rows = _compute_rows(compute, clips, jobs)
        for clip, length, row in zip(clips, header["lengths"], rows, strict=True):
            if len(row) != length:
                raise UserError(f"{clip.path}: changed while it was read; start again")
            file.write(row.data)
    features = _open_store(path, wanted)
    if features is None:
        raise UserError(f"{path}: was changed while it was being written; start again")
    return features


def _row_function(spec: FeatureSpec, sample_rate_hz: int) -> Callable[[Path], NDArray[np.float32]]:
    """The function that computes a file's rows."""
    if spec.logmel is None:
        return partial(read_samples, channel=spec.channel)
    log_mel = LogMel(spec.logmel, sample_rate_hz)

    def compute(path: Path) -> NDArray[np.float32]:
        return log_mel(read_samples(path, spec.channel))

    return compute


def _compute_rows(
    compute: Callable[[Path], NDArray[np.float32]], clips: Sequence[Clip], jobs: int
) -> Iterator[NDArray[np.float32]]:
    """Rows of each clip in order, computed by `jobs` threads; holds few clips at a time."""
    first = clips[0]
    title = f"features {first.machine} {first.path.parent.name}"
    ahead = 8 * jobs
    # Threads within matrix products would compete with these, and change the last bits.
    one = threadpool_limits(1, user_api="blas")
    with one, reused_memory(), ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(compute, clip.path) for clip in clips[:ahead]]
        for index in tqdm(range(len(clips)), desc=title, unit="clip", leave=False, delay=1):
            row = waiting[index % ahead].result()
            if index + ahead < len(clips):
                waiting[index % ahead] = pool.submit(compute, clips[index + ahead].path)
            yield row


def available_cores() -> int:
    """Number of processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
