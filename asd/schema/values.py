"""Types of values that say their range, for parameters and for keyword arguments of recipes."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Smallest and largest value; None is no limit.

    With `open_low` or `open_high` the limit itself is left out.
    """

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    multiple_of: int = 1

    def holds(self, value: float) -> bool:
        """Whether a value is in the range; NaN is not."""
        if self.low is not None and not (value > self.low if self.open_low else value >= self.low):
            return False
        if self.high is not None and not (
            value < self.high if self.open_high else value <= self.high
        ):
            return False
        return self.multiple_of == 1 or value % self.multiple_of == 0

    def __str__(self) -> str:
        words = []
        if self.low is not None:
            words.append(f"{'above' if self.open_low else 'at least'} {self.low:g}")
        if self.high is not None:
            words.append(f"{'below' if self.open_high else 'at most'} {self.high:g}")
        if self.multiple_of > 1:
            words.append(f"a multiple of {self.multiple_of}")
        return " and ".join(words)


@dataclass(frozen=True)
class Text:
    """A text that must not hold some characters, and may have to be there.

    `expected` is what a message says of a wrong one.
    """

    expected: str
    without: str = ""
    may_be_empty: bool = False

    def holds(self, value: str) -> bool:
        """Whether a text is one of these."""
        return (self.may_be_empty or bool(value)) and not set(self.without) & set(value)

    def __str__(self) -> str:
        return self.expected


Count = Annotated[int, Range(1)]
WholeNumber = Annotated[int, Range(0)]
BatchSize = Annotated[int, Range(2)]
"""Batch normalisation has nothing to learn from a batch of one."""
Seed = Annotated[int, Range(0, 2**32 - 1)]
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 1, open_high=True)]
Fraction = Annotated[float, Range(0, 1, open_low=True, open_high=True)]
FalsePositiveRate = Annotated[float, Range(0, 1, open_low=True)]
TransformLength = Annotated[int, Range(2)]
Window = Annotated[int, Range(16, multiple_of=2)]
"""Samples of a Fourier transform; half of it is the hop."""
Width = Annotated[int, Range(8, multiple_of=8)]
"""Width of a branch; its first convolutions have an eighth of it as channels."""
FolderName = Annotated[str, Text("a folder's name, without /", without="/\0")]
NamePart = Annotated[str, Text("a text without /", without="/\0", may_be_empty=True)]
