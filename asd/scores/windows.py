"""P-values of windows, from the windows of held-out normal recordings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.errors import UserError
from asd.scores.threshold import RATE_ROUNDING

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeldOutWindows:
    """Scores of the windows of held-out normal recordings.

    Windows of one recording are alike, so they do not count as so many clips: each recording
    counts as one, spread evenly over its windows. The p-value of a window is then
    (1 + sum over recordings of the share of their windows that score as high) / (recordings + 1),
    which a window drawn from a new normal recording finds at most at a rate with at most that
    probability (Y. Lee, R. F. Barber, R. Willett, "Distribution-free inference with hierarchical
    data", 2023, section 3).

    Parameters
    ----------
    owner
        Number of the recording of each window, shape (windows,), from 0 without gaps.
    columns
        Score name -> shape (windows,).

    Examples
    --------
    >>> held_out = HeldOutWindows(np.array([0, 0, 1]), {"MSE": np.array([1.0, 3.0, 2.0])})
    >>> held_out.p_values("MSE", [2.5]).tolist()  # half of a recording scores as high
    [0.5]
    """

    owner: npt.NDArray[np.int64]
    columns: Mapping[str, Array]

    @property
    def recordings(self) -> int:
        """Number of recordings."""
        return int(self.owner.max()) + 1 if len(self.owner) else 0

    def p_values(self, score: str, values: npt.ArrayLike) -> Array:
        """P-values of windows with these scores, from 1/(recordings + 1) to 1."""
        known, weights = self._sorted(score)
        at_least = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        first = np.searchsorted(known, np.asarray(values, dtype=np.float32), side="left")
        found: Array = (1 + at_least[first]) / (self.recordings + 1)
        return found

    def quantile(self, score: str, share: float) -> float:
        """The score that this share of normal windows stays at or below."""
        known, weights = self._sorted(score)
        reached = np.cumsum(weights) / weights.sum()
        return float(known[min(int(np.searchsorted(reached, share - 1e-9)), len(known) - 1)])

    def threshold(self, score: str, false_alarm_rate: float) -> float:
        """The score above which p-values are at most a rate; infinite where none can be."""
        known, weights = self._sorted(score)
        above = weights.sum() - np.cumsum(weights)
        p_values = (1 + above) / (self.recordings + 1)
        low = np.flatnonzero(p_values <= false_alarm_rate + RATE_ROUNDING)
        return float(known[low[0]]) if len(low) else math.inf

    def to_state(self) -> dict[str, Any]:
        """Lists, for a model file."""
        columns = {name: values.tolist() for name, values in self.columns.items()}
        return {"owner": self.owner.tolist(), "columns": columns}

    @classmethod
    def from_state(cls, state: Any) -> "HeldOutWindows":
        """Take over what `to_state` gave.

        Raises
        ------
        UserError
            It is something else.
        """
        try:
            owner = np.array(state["owner"], dtype=np.int64)
            columns = {
                str(name): np.array(values, dtype=np.float64)
                for name, values in state["columns"].items()
            }
            if any(values.shape != owner.shape for values in columns.values()):
                raise ValueError("of different lengths")
            return cls(owner, columns)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"stored window scores are not as they were written ({error}); learn again"
            ) from None

    def _sorted(self, score: str) -> tuple[npt.NDArray[np.float32], Array]:
        """Scores, ascending, as files hold them, and what share of its recording each window is."""
        values = self.columns[score].astype(np.float32)
        order = np.argsort(values, kind="stable")
        weights: Array = 1 / np.bincount(self.owner)[self.owner]
        return values[order], weights[order]
