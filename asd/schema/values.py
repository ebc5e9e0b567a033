"""Types of values that say their range, for parameters and for keyword arguments of recipes."""

import re
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
        words = [f"a multiple of {self.multiple_of}"] if self.multiple_of > 1 else []
        return " and ".join([*self._limits(), *words])

    def _limits(self) -> list[str]:
        """What a message says is expected: "at least 1", "a number above 0"."""
        low = None if self.low is None else _digits(self.low)
        high = None if self.high is None else _digits(self.high)
        if low and high and not self.open_low and not self.open_high:
            return [f"{low} to {high}"]
        found = []
        if low:
            found.append(f"a number above {low}" if self.open_low else f"at least {low}")
        if high:
            found.append(f"{'below' if self.open_high else 'at most'} {high}")
        return found


@dataclass(frozen=True)
class Text:
    """A text of some form.

    Parameters
    ----------
    expected
        What a message says of a wrong one.
    pattern
        A regular expression of the whole text.
    """

    expected: str
    pattern: str

    def holds(self, value: str) -> bool:
        """Whether a text is one of these."""
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.expected


@dataclass(frozen=True)
class AtLeastOne:
    """A list that must hold something."""

    def holds(self, value: tuple[object, ...]) -> bool:
        """Whether there is a value in it."""
        return bool(value)

    def __str__(self) -> str:
        return "at least one value"


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
FolderName = Annotated[str, Text("a folder's name, without /", r"(?!\.\.?\Z)[^/\0]+")]
NamePart = Annotated[str, Text("a text without /", r"[^/\0]*")]
Channel = Annotated[
    str,
    Text(
        "left, right, mix, cancellation, subtraction or a number from 1",
        r"left|right|mix|cancellation|subtraction|[1-9][0-9]{0,3}",
    ),
]


def _digits(limit: float) -> str:
    """A limit in full: 4294967295, not 4.29497e+09."""
    return str(int(limit)) if float(limit).is_integer() else f"{limit:g}"
