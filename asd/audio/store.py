"""The store of features: computed once, kept in one file a clip set, never stale, never half.

A store holds what it was computed from: the feature's key, and of each clip a hash of its file.
Files that are as they were in place, size and times are not read again; others are read, and
hashed, so that clips that were swapped, relabelled or moved give their own features.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm
from xxhash import xxh3_128_hexdigest

from asd.audio.features import BatchFeature, Feature, Features, PreparedFeature, Waveform
from asd.audio.recording import decode_recording, is_finite, read_content
from asd.audio.storefile import (
    DamagedStore,
    FileState,
    Index,
    Source,
    map_features,
    read_index,
    write_sources,
    write_store,
)
from asd.clips import Clip
from asd.errors import UserError
from asd.files import write_aside
from asd.locks import exclusive_lock

_CLOCK_NS = 2 * 10**9
"""The coarsest step of a file system's times."""

_LONGEST_NAME = 100  # of the folders in a store's name

T = TypeVar("T")
U = TypeVar("U")

log = logging.getLogger(__name__)


def load_features(
    clips: Sequence[Clip],
    feature: Feature,
    folder: Path,
    threads: int,
    *,
    mono: bool | None = None,
    rate_hz: int | None = None,
) -> Features:
    """Features of `clips`, from the store below `folder` or computed into it.

    Parameters
    ----------
    clips
        All clips of one machine type's train or test set; the file is named after their folder.
    feature
        What to compute of each clip.
    folder
        Where stores of this machine type lie.
    threads
        Number of threads to compute with.
    mono
        True: files must have one channel; False: several, and all as many; None: any.
    rate_hz
        Sampling rate to bring all clips to; None: they must have the same.

    Returns
    -------
    Features
        Memory-mapped, in the order of `clips`.

    Raises
    ------
    UserError
        A file cannot be used (see `read_recording`), differs from the others in sampling rate,
        has the wrong number of channels, gives features that are not finite, or the store cannot
        be written.
    """
    order = _Order(clips, feature, threads, mono, rate_hz)
    path = folder / _store_name(order)
    try:
        found = _open_store(path, order)
    except DamagedStore:
        found = None  # told below, by the one who makes it anew
    if found:
        return found
    with _locked(path):
        try:
            found = _open_store(path, order)  # by another process, while this one waited
        except DamagedStore as error:
            log.warning("%s: is damaged (%s); features are computed again", path, error)
        if found is None:
            _build_store(path, order)
            found = _open_store(path, order)
    if found is None:
        raise UserError(f"{path}: was changed while it was being written; start again")
    return found


@dataclass(frozen=True)
class _Order:
    """What `load_features` is asked for."""

    clips: Sequence[Clip]
    feature: Feature
    threads: int
    mono: bool | None
    rate_hz: int | None

    @property
    def key(self) -> str:
        """All that the values depend on beside the files."""
        rate = {} if self.rate_hz is None else {"rate_hz": self.rate_hz}
        return json.dumps({**self.feature.key(), **rate}, sort_keys=True)


def _store_name(order: _Order) -> str:
    folders = "-".join(sorted({clip.path.parent.name for clip in order.clips}))
    digest = sha256(order.key.encode()).hexdigest()[:12]
    return f"{folders[:_LONGEST_NAME]}_{digest}.{order.feature.kind}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a store; its folder is made where it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: features cannot be stored here ({error.strerror}); "
            "make it writable or name another --feature_directory"
        ) from None
    with exclusive_lock(path.with_name(f".{path.name}.lock"), "computing of features"):
        yield


# --- features that are there ----------------------------------------------------------------------


def _open_store(path: Path, order: _Order) -> Features | None:
    """The features in `path` if they are exactly those wanted, else None."""
    states = _states(order.clips)
    index = read_index(path)
    if index is None or index.key != order.key or len(index.sources) != len(states):
        return None
    pairs = zip(states, index.sources, strict=True)
    unsure = [i for i, (state, source) in enumerate(pairs) if state != source.state]
    seen = _same_contents(order, index, unsure)
    if seen is None:
        return None
    for clip, source in zip(order.clips, index.sources, strict=True):
        _check_channels(order, clip.path, source.channels, index.sources[0].channels)
    if unsure and all(source.state for source in seen.values()):
        _remember(path, index, seen)
    return map_features(path, index)


def _states(clips: Sequence[Clip]) -> list[FileState]:
    try:
        return [FileState.of(clip.path.stat()) for clip in clips]
    except OSError as error:
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); replace or remove it"
        ) from None


def _same_contents(order: _Order, index: Index, numbers: Sequence[int]) -> dict[int, Source] | None:
    """Sources of clips that may have changed, if none did; the first that did ends the search."""
    clips = [order.clips[number] for number in numbers]
    seen = {}
    files = _map_in_threads(lambda clip: _hash_file(clip.path), clips, order.threads)
    for number, (state, content) in zip(numbers, files, strict=True):
        source = index.sources[number]
        if content != source.content:
            return None
        seen[number] = source._replace(state=state)
    return seen


def _hash_file(path: Path) -> tuple[FileState | None, str]:
    content, stat = read_content(path)
    return _settled_state(stat), xxh3_128_hexdigest(content)


def _settled_state(stat: os.stat_result) -> FileState | None:
    """A file's state, unless it is so new that a change from now on might not show in its times."""
    is_settled = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _CLOCK_NS
    return FileState.of(stat) if is_settled else None


def _remember(path: Path, index: Index, seen: Mapping[int, Source]) -> None:
    """Store the states of files that have their old content, so that they are not read again."""
    try:
        write_sources(path, index, [seen.get(i, s) for i, s in enumerate(index.sources)])
    except UserError as error:  # where only reading is allowed, they are read each time
        log.debug("%s", error)


# --- features that are computed -------------------------------------------------------------------


class _Read(NamedTuple):
    path: Path
    source: Source
    wave: NDArray[np.float32]
    rate_hz: int


def _build_store(path: Path, order: _Order) -> None:
    for leftover in path.parent.glob(f".{path.name}.*.part"):  # of runs that were killed
        leftover.unlink(missing_ok=True)
    rate_hz = _read(order.clips[0], order.rate_hz).rate_hz
    if isinstance(order.feature, PreparedFeature):
        order.feature.prepare(rate_hz)
    with write_aside(path, durable=False) as aside:
        for in_16_bits in (True, False) if isinstance(order.feature, Waveform) else (False,):
            computed = _compute(order, rate_hz)
            if write_store(aside, order.key, rate_hz, computed, in_16_bits):
                break


def _read(clip: Clip, rate_hz: int | None) -> _Read:
    content, stat = read_content(clip.path)
    wave, found_hz = decode_recording(content, clip.path, rate_hz=rate_hz)
    source = Source(_settled_state(stat), xxh3_128_hexdigest(content), len(wave))
    return _Read(clip.path, source, wave, found_hz)


def _compute(order: _Order, rate_hz: int) -> Iterator[tuple[Path, Source, NDArray[Any]]]:
    """Path, file and values of each clip in order, a few clips at a time."""

    def read(clip: Clip) -> _Read:
        found = _read(clip, order.rate_hz)
        if found.rate_hz != rate_hz:
            raise UserError(
                f"{clip.path}: is sampled at {found.rate_hz} Hz, {order.clips[0].file_name} at "
                f"{rate_hz} Hz; resample it, all clips of a machine type must agree"
            )
        return found

    def compute(clip: Clip) -> tuple[_Read, NDArray[Any]]:
        found = read(clip)
        with _named(clip.path), np.errstate(over="ignore", invalid="ignore"):
            return found, order.feature.compute(found.wave, rate_hz)

    if isinstance(order.feature, BatchFeature):
        reading = _map_in_threads(read, order.clips, order.threads)
        results = _compute_batches(order.feature, reading)
    else:
        results = _with_one_blas_thread(_map_in_threads(compute, order.clips, order.threads))
    first = order.clips[0]
    title = f"features {first.machine} {first.path.parent.name}"
    total, first_channels = len(order.clips), 0
    bar: dict[str, Any] = {"unit": "clip", "leave": False, "delay": 1}
    if isinstance(order.feature, BatchFeature):
        # Clips come in bursts: only whole batches, since the start, tell when it will be over.
        bar |= {"smoothing": 0.0, "miniters": order.feature.batch_size}
    for clip, values in tqdm(results, title, total, **bar):
        first_channels = first_channels or clip.source.channels
        _check_channels(order, clip.path, clip.source.channels, first_channels)
        _check_finite(clip, values)
        yield clip.path, clip.source, values


def _compute_batches(
    feature: BatchFeature, read: Iterator[_Read]
) -> Iterator[tuple[_Read, NDArray[Any]]]:
    while batch := list(islice(read, feature.batch_size)):
        waves = [(clip.path, clip.wave) for clip in batch]
        yield from zip(batch, compute_batch(feature, waves, batch[0].rate_hz), strict=True)


def compute_batch(
    feature: BatchFeature, waves: Sequence[tuple[Path, NDArray[np.float32]]], rate_hz: int
) -> Sequence[NDArray[Any]]:
    """Values of some clips, given by their paths and waves.

    Raises
    ------
    UserError
        A clip cannot be used; the text begins with its path.
    """
    try:
        return feature.compute_many([wave for _, wave in waves], rate_hz)
    except UserError:
        for path, wave in waves:  # to find out which it was
            with _named(path):
                feature.compute_many([wave], rate_hz)
        raise


def _with_one_blas_thread(results: Iterator[T]) -> Iterator[T]:
    """Threads within matrix products would compete with ours, and change the last bits."""
    with threadpool_limits(1, user_api="blas"):
        yield from results


def _map_in_threads(
    function: Callable[[T], U], items: Sequence[T], threads: int
) -> Iterator[U]:  # fmt: skip
    """Results in order, computed by `threads` threads; holds few at a time."""
    ahead = 8 * threads
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(function, item) for item in items[:ahead]]
        for index in range(len(items)):
            result = waiting[index % ahead].result()
            if index + ahead < len(items):
                waiting[index % ahead] = pool.submit(function, items[index + ahead])
            yield result


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put a file's name in front of what is said of it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _check_finite(clip: _Read, values: NDArray[Any]) -> None:
    if not is_finite(values):
        raise UserError(
            f"{clip.path}: its features are not finite; its samples reach "
            f"{np.abs(clip.wave).max():g} where full scale is 1, scale them down or remove it"
        )


def _check_channels(order: _Order, path: Path, channels: int, first_channels: int) -> None:
    if order.mono is True and channels != 1:
        raise UserError(
            f"{path}: has {channels} channel(s), expected 1; "
            "set --mono False if all clips have several"
        )
    if order.mono is False and channels == 1:
        raise UserError(
            f"{path}: has 1 channel(s), expected several; set --mono True if all clips have one"
        )
    if order.mono is not None and channels != first_channels:
        raise UserError(
            f"{path}: has {channels} channel(s), {order.clips[0].file_name} has {first_channels}; "
            "convert or remove it, all clips of a machine type must agree"
        )
