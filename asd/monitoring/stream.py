"""Decisions on windows that come one after the other: smoothing, hysteresis, re-centring.

Pure computation; what reads files and pipes is in `watching`.
"""

from dataclasses import dataclass, field

from asd.errors import UserError
from asd.scores.threshold import RATE_ROUNDING
from asd.scores.windows import HeldOutWindows

MEDIAN = 0.5


@dataclass(frozen=True)
class StreamParameters:
    """How a stream is judged.

    Parameters
    ----------
    false_alarm_rate
        Share of normal windows that may be decided anomalous.
    smoothing
        Number of windows that the smoothed score looks back on; 1 does not smooth.
    hysteresis
        An alarm ends when the smoothed score has come back from the threshold by this share of
        the way to the median of normal windows; 0 ends it at the threshold.
    recentre_s
        Seconds of sound in which the middle of normal scores may move by one quartile range, to
        follow slow changes such as the season's; 0 keeps it where it was learned.
    """

    false_alarm_rate: float
    smoothing: float = 3.0
    hysteresis: float = 0.5
    recentre_s: float = 24 * 3600.0

    def __post_init__(self) -> None:
        if self.smoothing < 1:
            raise UserError(f"--smoothing: expected 1 window or more, got {self.smoothing:g}")
        if not 0 <= self.hysteresis <= 1:
            raise UserError(f"--hysteresis: expected 0 to 1, got {self.hysteresis:g}")
        if self.recentre_s < 0:
            raise UserError(f"--recentre: expected 0 hours or more, got {self.recentre_s / 3600:g}")


@dataclass(frozen=True)
class Judgement:
    """What is said of a window.

    Parameters
    ----------
    smoothed
        Running mean of the scores, less the shift.
    p_value
        Of the window alone, less the shift.
    decision
        Whether the window alone is anomalous, at the false-alarm rate.
    alarm
        Whether the stream is in a state of alarm.
    shift
        By how much the middle of normal scores has moved.
    """

    smoothed: float
    p_value: float
    decision: bool
    alarm: bool
    shift: float


@dataclass
class Stream:
    """The state of a stream.

    The middle of the scores is followed as a running median: a score above it moves it up by one
    step, one below it down, whatever its size, so that single faults hardly count (H. Robbins,
    S. Monro, "A stochastic approximation method", 1951, for a quantile). It stands still while
    there is an alarm, and goes no further than from the learned median to the threshold: a fault
    that grows slowly must not become normal.
    """

    windows: HeldOutWindows
    score: str
    parameters: StreamParameters
    smoothed: float | None = None
    alarm: bool = False
    shift: float = 0.0
    median: float = field(init=False)
    threshold: float = field(init=False)
    _range: float = field(init=False)

    def __post_init__(self) -> None:
        def quantile(share: float) -> float:
            return self.windows.quantile(self.score, share)

        self.median = quantile(MEDIAN)
        self.threshold = self.windows.threshold(self.score, self.parameters.false_alarm_rate)
        self._range = quantile(0.75) - quantile(0.25)

    def judge(self, score: float, seconds: float) -> Judgement:
        """Take in the next window, with its score and length."""
        p = self.parameters
        centred = score - self.shift
        before = centred if self.smoothed is None else self.smoothed
        self.smoothed = before + (centred - before) / p.smoothing
        p_value = float(self.windows.p_values(self.score, [centred])[0])
        end = self.threshold - p.hysteresis * (self.threshold - self.median)
        self.alarm = self.smoothed > (end if self.alarm else self.threshold)
        said = Judgement(
            self.smoothed,
            p_value,
            p_value <= p.false_alarm_rate + RATE_ROUNDING,
            self.alarm,
            self.shift,
        )
        if p.recentre_s and not self.alarm:
            self._recentre(centred, seconds)
        return said

    def _recentre(self, centred: float, seconds: float) -> None:
        step = self._range * seconds / self.parameters.recentre_s
        sign = (centred > self.median) - (centred < self.median)
        most = max(self.threshold - self.median, 0.0)
        self.shift = min(max(self.shift + step * sign, -most), most)
