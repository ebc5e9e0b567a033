"""Types of recipe values that say their range, for constructors and for the recipe's reader."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Smallest and largest value; None is no limit. With `open_low` the smallest is left out."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    multiple_of: int = 1

    def holds(self, value: float) -> bool:
        """Whether a value is in the range; NaN is not."""
        if self.low is not None and not (value > self.low if self.open_low else value >= self.low):
            return False
        if self.high is not None and not value <= self.high:
            return False
        return self.multiple_of == 1 or value % self.multiple_of == 0

    def __str__(self) -> str:
        words = []
        if self.low is not None:
            words.append(f"{'above' if self.open_low else 'at least'} {self.low:g}")
        if self.high is not None:
            words.append(f"at most {self.high:g}")
        if self.multiple_of > 1:
            words.append(f"a multiple of {self.multiple_of}")
        return " and ".join(words)


Count = Annotated[int, Range(1)]
BatchSize = Annotated[int, Range(2)]
"""Batch normalisation has nothing to learn from a batch of one."""
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
Window = Annotated[int, Range(16, multiple_of=2)]
"""Samples of a Fourier transform; half of it is the hop."""
Width = Annotated[int, Range(8, multiple_of=8)]
"""Width of a branch; its first convolutions have an eighth of it as channels."""
