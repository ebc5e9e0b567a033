"""Where in time and frequency an anomaly score comes from."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_GAP_S = 0.5
"""Parts of the same band that are no further apart are one."""


class Part(NamedTuple):
    """A rectangle of a spectrogram: times in seconds, frequencies in Hz."""

    start_s: float
    end_s: float
    low_hz: float
    high_hz: float


@dataclass(frozen=True)
class Explanation:
    """What each part of a clip's spectrogram adds to its anomaly score.

    Parameters
    ----------
    score
        Name of the score.
    values
        Shape (times, bands): what each cell adds; higher where it makes the clip more anomalous.
    times_s
        Edges of the times, shape (times + 1,), ascending.
    bands_hz
        Edges of the bands, shape (bands + 1,), ascending.
    usual
        Shape (times, bands): what cells of normal clips add on average; None where it is not
        known, or where values are changes of the score already.
    adds_up
        Whether the values add up to the score. Those of occlusion do not: they are what the score
        loses when a cell is replaced.

    Examples
    --------
    >>> import asd
    >>> model = asd.load(getfixture("fan_model"))
    >>> fan = asd.load_challenge("DCASE2023T2", getfixture("tiny_data")).dev["fan"]
    >>> (why,) = model.explain(fan.test[:1], "MSE")
    >>> why.values.shape, round(float(why.times_s[-1]), 2), round(float(why.bands_hz[-1]))
    ((16, 16), 0.5, 7301)
    >>> bool(abs(why.values.sum() - model.score(fan.test[:1], ["MSE"])["MSE"][0]) < 1e-4)
    True
    """

    score: str
    values: Array
    times_s: Array
    bands_hz: Array
    usual: Array | None = None
    adds_up: bool = True

    def __post_init__(self) -> None:
        shape = (len(self.times_s) - 1, len(self.bands_hz) - 1)
        if self.values.shape != shape:
            raise ValueError(f"values of shape {self.values.shape} for edges of {shape} cells")
        if self.usual is not None and self.usual.shape != shape:
            raise ValueError(f"usual values of shape {self.usual.shape} for {shape} cells")

    @property
    def excess(self) -> Array:
        """The values less the usual ones, shape (times, bands)."""
        return self.values if self.usual is None else self.values - self.usual

    def smoothed(self, seconds: float = 0.3, bands: int = 5) -> Array:
        """The excess, averaged over neighbouring cells, shape (times, bands).

        Single cells of noise vary by several times their mean; a fault covers more than one.
        """
        from scipy.ndimage import uniform_filter  # slow to import

        if not self.adds_up:  # the cells of occlusion are large
            return self.excess
        width = round(seconds / float(np.diff(self.times_s).mean()))
        size = (max(1, width), min(bands, self.values.shape[1]))
        found: Array = uniform_filter(self.excess, size, mode="nearest")
        return found

    def parts(self, most: int = 3, share: float = 0.4) -> list[Part]:
        """The parts that stand out most, by their sum; none where nothing exceeds the usual.

        Parameters
        ----------
        most
            Number of parts.
        share
            A part is made of neighbouring cells whose smoothed excess is at least this share of
            the largest.
        """
        from scipy.ndimage import binary_closing, find_objects, label

        excess = self.smoothed()
        peak = float(excess.max(initial=0.0))
        if peak <= 0:
            return []
        is_high = excess >= share * peak
        if self.adds_up:  # a steady sound is one part, also where noise covers it now and then
            gap = min(len(excess), 1 + round(_GAP_S / float(np.diff(self.times_s).mean())))
            is_high |= binary_closing(is_high, np.ones((gap, 1)))
        numbers, count = label(is_high)
        sums = np.bincount(numbers.ravel(), excess.ravel(), minlength=count + 1)[1:]
        places = find_objects(numbers)
        kept = [i for i in np.argsort(-sums, kind="stable")[:most] if sums[i] >= sums.max() / 10]
        return [self._part(*places[i]) for i in kept]

    def by_band(self) -> Array:
        """What each band adds, shape (bands,)."""
        found: Array = self.values.sum(axis=0)
        return found

    def at(self, times_s: Array, frequencies_hz: Array) -> Array:
        """The smoothed excess at points in time and frequency, shape (times, frequencies).

        0 outside of what is explained.
        """
        values = np.pad(self.smoothed(), 1)
        time = np.searchsorted(self.times_s, times_s, side="right")
        band = np.searchsorted(self.bands_hz, frequencies_hz, side="right")
        found: Array = values[np.ix_(time, band)]
        return found

    def _part(self, times: Any, bands: Any) -> Part:
        edges = (self.times_s[times.start], self.times_s[times.stop],
                 self.bands_hz[bands.start], self.bands_hz[bands.stop])  # fmt: skip
        return Part(*map(float, edges))
