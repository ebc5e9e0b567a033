"""Windows of recordings as clips: long recordings are heard piece by piece."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.audio.clip_set import ClipSet
from asd.audio.features import BatchFeature, Feature, Features, PreparedFeature
from asd.audio.recording import is_finite
from asd.clips import Clip
from asd.errors import UserError

Wave = NDArray[np.float32]
"""Samples of shape (channels, samples), full scale 1."""

Span = tuple[float, float]
"""Start and end in seconds."""


@dataclass(frozen=True)
class Pieces:
    """Windows of recordings, recording by recording.

    Parameters
    ----------
    clips
        A clip for each window: what is known of its recording.
    owner
        Number of the recording of each window, shape (windows,).
    spans
        Where in its recording each window lies.
    """

    clips: ClipSet
    owner: NDArray[np.int64]
    spans: tuple[Span, ...]

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the windows of each recording, shape (recordings,)."""
        sums = np.bincount(self.owner, weights=values)
        found: NDArray[np.float64] = sums / np.bincount(self.owner)
        return found


def window_spans(duration_s: float, window_s: float) -> list[Span]:
    """Where windows lie in a recording: one after the other, and the last one ends with it.

    Up to a length of one and a twentieth window it is heard whole: no second window is made for a
    few samples.

    Examples
    --------
    >>> window_spans(25.0, 10.0)
    [(0.0, 10.0), (10.0, 20.0), (15.0, 25.0)]
    >>> window_spans(10.2, 10.0)
    [(0.0, 10.2)]
    """
    if duration_s <= 1.05 * window_s:
        return [(0.0, duration_s)]
    starts = np.arange(0, duration_s - window_s * (1 + 1e-9), window_s).tolist()
    return [(start, start + window_s) for start in [*starts, duration_s - window_s]]


def cut_recordings(
    clips: Sequence[Clip],
    durations_s: Sequence[float],
    window_s: float,
    rate_hz: int,
    read: Callable[[int], Wave],
) -> Pieces:
    """The windows of recordings.

    Parameters
    ----------
    clips
        What is known of each recording.
    durations_s
        Their lengths.
    window_s
        Length of a window.
    rate_hz
        Sampling rate of what `read` gives.
    read
        Gives the samples of the recording of a number, when features are asked for.
    """
    spans = [window_spans(duration, window_s) for duration in durations_s]
    owner = np.repeat(np.arange(len(clips)), [len(own) for own in spans])
    flat = tuple(span for own in spans for span in own)

    def source(_: Sequence[Clip], feature: Feature) -> Features:
        if isinstance(feature, PreparedFeature):
            feature.prepare(rate_hz)
        values = []
        for number, clip in enumerate(clips):
            wave = read(number)
            cut = [_cut(wave, span, rate_hz) for span in spans[number]]
            values += _compute(clip, cut, feature, rate_hz)
        lengths = np.array([len(one) for one in values], dtype=np.int64)
        return Features(np.concatenate(values), np.cumsum(lengths) - lengths, lengths, rate_hz)

    return Pieces(ClipSet([clips[int(i)] for i in owner], source), owner, flat)


def _cut(wave: Wave, span: Span, rate_hz: int) -> Wave:
    first, end = (round(second * rate_hz) for second in span)
    return wave[:, first:end]


def _compute(clip: Clip, waves: Sequence[Wave], feature: Feature, rate_hz: int) -> list[Any]:
    """The features of windows of a recording."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(feature, BatchFeature):
                size = feature.batch_size
                batches = [waves[i : i + size] for i in range(0, len(waves), size)]
                found = [v for batch in batches for v in feature.compute_many(batch, rate_hz)]
            else:
                found = [feature.compute(wave, rate_hz) for wave in waves]
    except UserError as error:
        raise UserError(f"{clip.path}: {error}") from None
    if not all(map(is_finite, found)):
        raise UserError(
            f"{clip.path}: its features are not finite; scale its samples down or remove it"
        )
    return found
