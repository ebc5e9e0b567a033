"""Learning rates that start anew again and again."""

import math
from dataclasses import dataclass
from typing import Literal

from asd.schema.values import Count, NonNegative


@dataclass(frozen=True)
class RestartRecipe:
    """A learning rate that runs through the same course in every period.

    Parameters
    ----------
    form
        "linear": full rate where a period begins, then 1/period of it, 2/period, ... so that the
        very first one is the full rate; as in khoaphamanh/DCASE2024. "cosine": falls from the
        full rate towards `last_rate`, see Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5,
        with periods of one length.
    period
        Length of a period, in what is counted.
    last_rate
        Of "cosine".
    counted_in
        "epochs", "steps" of the optimiser, or "steps_and_epochs", which counts one more at the
        end of each epoch, as the published search does.
    """

    form: Literal["linear", "cosine"] = "linear"
    period: Count = 8
    last_rate: NonNegative = 0.0
    counted_in: Literal["epochs", "steps", "steps_and_epochs"] = "epochs"

    def rate(self, steps: int, epochs: int, highest: float) -> float:
        """Learning rate after so many steps and whole epochs; `highest` is the full one."""
        counts = {"epochs": epochs, "steps": steps, "steps_and_epochs": steps + epochs}
        share = counts[self.counted_in] % self.period / self.period
        if self.form == "linear":
            return highest * (share or 1.0)
        return self.last_rate + (highest - self.last_rate) * 0.5 * (1 + math.cos(math.pi * share))
