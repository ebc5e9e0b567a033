"""Score tables: clips and their anomaly scores, one column per score."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.clips import Clip
from asd.csvfiles import cell, write_rows
from asd.errors import UserError

Array = npt.NDArray[np.float64]

FACTS = ("file_name", "machine", "section", "domain", "label", "attributes")
"""What a stored table tells of each clip: not its folder, which may be another's business."""


@dataclass(frozen=True, eq=False, repr=False)
class ScoreTable:
    """Scores of clips; higher means more anomalous.

    Tables are equal where their clips have the same facts, in the same order, and their columns
    the same names and values, in any order.

    Parameters
    ----------
    clips
        What was scored.
    columns
        Score name -> shape (clips,); kept as float64 that cannot be written to.

    Examples
    --------
    >>> import asd
    >>> from pathlib import Path
    >>> clips = tuple(asd.Clip(Path(name), "pump") for name in ("a.wav", "b.wav"))
    >>> table = asd.ScoreTable(clips, {"MSE": [1.5, 0.5]})
    >>> table
    <ScoreTable: 2 clips of pump; MSE>
    >>> table["MSE"].argmax(), table.select([1]).clips[0].file_name
    (np.int64(0), 'b.wav')
    """

    clips: tuple[Clip, ...]
    columns: Mapping[str, Array]

    def __post_init__(self) -> None:
        object.__setattr__(self, "clips", tuple(self.clips))
        columns = {name: _frozen(values) for name, values in self.columns.items()}
        for name, values in columns.items():
            if values.shape != (len(self.clips),):
                raise ValueError(f"{name}: shape {values.shape} for {len(self.clips)} clips")
        object.__setattr__(self, "columns", columns)

    @classmethod
    def concat(cls, tables: Iterable["ScoreTable"]) -> "ScoreTable":
        """Tables of the same columns, one below the other; at least one."""
        parts = list(tables)
        names = list(parts[0].columns)
        for part in parts:
            if set(part.columns) != set(names):
                raise ValueError(f"tables of columns {names} and {list(part.columns)}")
        return cls(
            tuple(clip for part in parts for clip in part.clips),
            {name: np.concatenate([part[name] for part in parts]) for name in names},
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, name: str) -> Array:
        """A column.

        Raises
        ------
        UserError
            There is none of this name; those that there are are named.
        """
        if name not in self.columns:
            raise UserError(f"score {name!r} is unknown; choose from {', '.join(self.columns)}")
        return self.columns[name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScoreTable):
            return NotImplemented
        return (
            _facts(self.clips) == _facts(other.clips)
            and set(self.columns) == set(other.columns)
            and all(np.array_equal(self[name], other[name]) for name in self.columns)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        machines = ", ".join(dict.fromkeys(clip.machine for clip in self.clips)) or "no machine"
        return f"<ScoreTable: {len(self)} clips of {machines}; {', '.join(self.columns)}>"

    def select(self, which: npt.ArrayLike) -> "ScoreTable":
        """The clips of these indices, in their order, or of a mask of shape (clips,)."""
        chosen = np.asarray(which)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise ValueError(f"a mask of shape {chosen.shape} for {len(self)} clips")
            chosen = np.flatnonzero(chosen)
        indices = chosen.astype(np.intp)
        return ScoreTable(
            tuple(self.clips[i] for i in indices),
            {name: values[indices] for name, values in self.columns.items()},
        )

    def by_machine(self) -> Iterator[tuple[str, "ScoreTable"]]:
        """Machine type and table of its clips, in the order of their first clips."""
        return self._by([clip.machine for clip in self.clips])

    def by_section(self) -> Iterator[tuple[tuple[str, str], "ScoreTable"]]:
        """Machine type and section, and table of its clips, in the order of their first clips."""
        return self._by([(clip.machine, clip.section) for clip in self.clips])

    def with_columns(self, columns: Mapping[str, npt.ArrayLike]) -> "ScoreTable":
        """The same clips with other columns."""
        return ScoreTable(self.clips, {name: _frozen(values) for name, values in columns.items()})

    def rounded(self) -> "ScoreTable":
        """Scores as result files hold them: rounded to float32."""
        with np.errstate(over="ignore"):
            return self.with_columns(
                {name: values.astype(np.float32) for name, values in self.columns.items()}
            )

    def check_same_clips(self, other: "ScoreTable") -> None:
        """Raise a UserError unless another table is of the same clips in the same order."""
        own, others = _facts(self.clips), _facts(other.clips)
        if own == others:
            return
        at = next((i for i, (a, b) in enumerate(zip(own, others, strict=False)) if a != b), None)
        where = (
            f"{len(own)} and {len(others)} clips"
            if at is None
            else f"clip {at} is {self.clips[at].file_name} and {other.clips[at].file_name}"
        )
        raise UserError(f"score tables are of different clips ({where}); score the same clips")

    def rows(self) -> Iterator[list[str]]:
        """Cells of a CSV file: a header, then a row per clip; unknown facts are empty cells."""
        yield [*FACTS, *self.columns]
        for i, facts in enumerate(_facts(self.clips)):
            scores = [cell(values[i]) for values in self.columns.values()]
            yield [*("" if fact is None else str(fact) for fact in facts), *scores]

    def write(self, path: Path) -> None:
        """Write `rows` to a CSV file.

        Raises
        ------
        UserError
            The folder cannot be written to.
        """
        write_rows(path, self.rows())

    def to_state(self) -> dict[str, Any]:
        """Lists of texts, None and numbers, for a model file; of paths the file names alone."""
        return {
            "clips": [list(facts) for facts in _facts(self.clips)],
            "columns": {name: values.tolist() for name, values in self.columns.items()},
        }

    @classmethod
    def from_state(cls, state: Any) -> "ScoreTable":
        """Take over what `to_state` gave.

        Raises
        ------
        UserError
            It is something else.
        """
        try:
            clips = tuple(_clip(facts) for facts in state["clips"])
            columns = {_text(name): _frozen(values) for name, values in state["columns"].items()}
            return cls(clips, columns)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"stored scores are not as they were written ({error}); train the model again"
            ) from None

    def _by(self, keys: Sequence[Any]) -> Iterator[tuple[Any, "ScoreTable"]]:
        members: dict[Any, list[int]] = {}
        for index, key in enumerate(keys):
            members.setdefault(key, []).append(index)
        return ((key, self.select(indices)) for key, indices in members.items())


def _frozen(values: npt.ArrayLike) -> Array:
    """A copy as float64 that cannot be written to."""
    frozen = np.array(np.asarray(values), dtype=np.float64)
    frozen.flags.writeable = False
    return frozen


def _facts(clips: Sequence[Clip]) -> list[tuple[Any, ...]]:
    return [tuple(getattr(clip, fact) for fact in FACTS) for clip in clips]


def _clip(facts: Sequence[Any]) -> Clip:
    named = dict(zip(FACTS, facts, strict=True))
    for fact, value in named.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{fact} is {value!r}")
    return Clip(path=Path(_text(named.pop("file_name"))), **named)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
