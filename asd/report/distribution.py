"""How scores of test clips lie against those of normal clips: the layout of a small drawing.

Positions are in the drawing's own units; the page's template makes SVG of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

WIDTH, LEFT, RIGHT = 640.0, 76.0, 14.0
_TOP, _BARS, _ROW = 18.0, 92.0, 18.0
_MOST_BINS = 48
_DECADES = 50.0
"""Scores that are all positive and span more than this are drawn on a logarithmic axis."""


class Bar(NamedTuple):
    """A bar of the histogram."""

    x: float
    y: float
    width: float
    height: float


class Tick(NamedTuple):
    """A number below the axis."""

    place: float
    text: str


class Row(NamedTuple):
    """Clips of one label, a stroke each."""

    kind: str
    text: str
    y: float
    places: list[float]


@dataclass(frozen=True)
class Scale:
    """From scores to places."""

    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: FloatArray) -> "Scale":
        """A scale that holds finite values, with some room at both ends."""
        low, high = float(values.min()), float(values.max())
        if low > 0 and high > _DECADES * low:
            room = (high / low) ** 0.03
            return cls(low / room, high * room, True)
        room = 0.03 * (high - low) or max(abs(high), 1.0) * 0.03
        return cls(low - room, high + room, False)

    def place(self, score: float) -> float:
        """Where a score lies, from `LEFT` to `WIDTH - RIGHT`."""
        return round(LEFT + (WIDTH - RIGHT - LEFT) * min(1.0, max(0.0, self._share(score))), 1)

    def ticks(self) -> list[Tick]:
        """Some five round numbers."""
        from matplotlib.ticker import LogLocator, MaxNLocator

        steps = (1.0,) if self.high > 1000 * max(self.low, 1e-300) else (1.0, 2.0, 5.0)
        locator = LogLocator(subs=steps, numticks=8) if self.is_log else MaxNLocator(6)
        inside = [v for v in locator.tick_values(self.low, self.high) if self.low <= v <= self.high]
        while len(inside) > 9:
            inside = inside[::2]
        return [Tick(self.place(value), f"{value:.6g}") for value in inside]

    def edges(self, bins: int) -> FloatArray:
        """Edges of a histogram's bins, shape (bins + 1,)."""
        space = np.geomspace if self.is_log else np.linspace
        return np.asarray(space(self.low, self.high, bins + 1), dtype=np.float64)

    def _share(self, score: float) -> float:
        if self.is_log:
            if score <= 0:
                return 0.0
            return math.log(score / self.low) / math.log(self.high / self.low)
        return (score - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Distribution:
    """The drawing of a machine type's scores.

    Parameters
    ----------
    machine
        Machine type.
    title, text
        What stands above it, and what it says to those who cannot see it.
    count
        Number of normal scores.
    """

    machine: str
    title: str
    text: str
    count: int
    scale: Scale
    bars: list[Bar]
    rows: list[Row]
    ticks: list[Tick]
    threshold: float | None
    base: float
    height: float
    width: float = WIDTH
    left: float = LEFT

    @property
    def side(self) -> float:
        """Where the word beside the threshold stands: left of it near the right end."""
        return -5.0 if (self.threshold or 0) > WIDTH - 90 else 5.0


def draw(
    machine: str,
    score: str,
    normal: npt.ArrayLike,
    clips: Mapping[str, Sequence[float]],
    threshold: float | None,
) -> Distribution | None:
    """The drawing of some scores; None where none is finite.

    Parameters
    ----------
    score
        Name of the score.
    normal
        Scores of normal clips that the detector knows, drawn as a histogram.
    clips
        "normal", "anomaly" or "unlabelled" -> scores of the test clips.
    threshold
        None where there is none.
    """
    known = np.asarray(normal, dtype=np.float64)
    known = known[np.isfinite(known)]
    tested = {kind: [v for v in values if math.isfinite(v)] for kind, values in clips.items()}
    limit = threshold if threshold is not None and math.isfinite(threshold) else None
    everything = np.array([*known, *(v for values in tested.values() for v in values)])
    if not len(everything):
        return None
    scale = Scale.of(everything if limit is None else np.append(everything, limit))
    is_labelled = any(values for kind, values in tested.items() if kind != "unlabelled")
    rows, y = [], _TOP + (_BARS if len(known) else 0.0) + 6
    for kind, values in tested.items():
        if values:
            places = sorted({scale.place(value) for value in values})
            rows.append(Row(kind, kind if is_labelled else "clips", y, places))
            y += _ROW
    base = y + 4
    title = f"{machine}: {score} of {sum(map(len, tested.values()))} clips"
    return Distribution(
        machine, title, _text(machine, score, known, tested, limit), len(known), scale,
        _bars(known, scale), rows, scale.ticks(), None if limit is None else scale.place(limit),
        base, base + 22,
    )  # fmt: skip


def _bars(known: FloatArray, scale: Scale) -> list[Bar]:
    if not len(known):
        return []
    edges = scale.edges(_MOST_BINS)
    counts = np.histogram(known, edges)[0]
    found = []
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            height = round(float(count / counts.max()) * _BARS, 1)
            x, end = scale.place(low), scale.place(high)
            bar = Bar(x, round(_TOP + _BARS - height, 1), round(max(1.0, end - x - 1), 1), height)
            found.append(bar)
    return found


def _text(
    machine: str,
    score: str,
    known: FloatArray,
    tested: Mapping[str, Sequence[float]],
    threshold: float | None,
) -> str:
    parts = []
    if len(known):
        parts.append(f"{len(known)} normal scores from {known.min():.4g} to {known.max():.4g}")
    parts += [f"{kind} clips from {min(values):.4g} to {max(values):.4g}"
              for kind, values in tested.items() if values]  # fmt: skip
    parts += [] if threshold is None else [f"threshold {threshold:.4g}"]
    return f"{score} of {machine}: {'; '.join(parts)}"
