"""What every backend shares: the interface, checks of input, the sets of reference clips.

A backend turns embeddings into anomaly scores by comparing them with those of normal training
clips. It learns plain arrays from a set of training clips and scores with nothing but them, so a
fitted backend is stored as arrays.

A backend of your own is a dataclass that learns arrays and gives a function of them:

    from dataclasses import dataclass

    from asd.backends import Backend


    @dataclass(kw_only=True)
    class Centre(Backend):
        power: float = 2.0

        def learn(self, rows, is_target):
            return {"centre": rows.mean(axis=0)}

        def scorer(self, arrays):
            return lambda rows: (abs(rows - arrays["centre"]) ** self.power).sum(axis=1)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asd.backends.parameter_types import check_fields
from asd.errors import UserError

Array: TypeAlias = NDArray[np.float64]
Arrays: TypeAlias = dict[str, Array]
Scorer: TypeAlias = Callable[[Array], Array]

Metric: TypeAlias = Literal["cosine", "half_chord", "euclidean"]
"""Kinds of distance, see `asd.backends.neighbours.measure`."""

BLOCK_ROWS = 128
"""Rows scored at a time: 128 rows against 1,000 references are 1 MB."""

WHOLE_SET = "all"
"""Key of the one reference set of a machine, where sections are not told apart."""


class TooFewClipsError(UserError):
    """Fewer clips than the `needed` ones of a parameter or a step."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


@dataclass(kw_only=True)
class Backend(ABC):
    """Scores embeddings by what it learned from those of normal clips.

    Subclasses are dataclasses of keyword parameters, which are the keys of a recipe. The type of a
    parameter says which values it may have (`asd.schema.values`, `Literal`), and is checked.

    Parameters
    ----------
    metric
        Unless "euclidean", embeddings are brought to unit length before they are learned from or
        scored. See `asd.backends.neighbours.measure`.
    per_section
        False: all sections of a machine share one reference set, as published with the toolkit's
        recipes. True: a set for each section.
    """

    metric: Metric = "cosine"
    per_section: bool = False

    array_names: ClassVar[tuple[str, ...]] = ()
    """The arrays that `learn` gives, the first as wide as embeddings: with these names stored
    arrays and new embeddings are checked, without them they are not."""

    learned: dict[str, Arrays] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def smallest_dim(self) -> int:
        """The fewest values that embeddings may have."""
        return 1

    def members(self) -> "list[Backend]":
        """The backends that embeddings go to: this one, or those that it is made of."""
        return [self]

    def stored_names(self) -> tuple[str, ...]:
        """The arrays that this instance stores: `array_names`, unless parameters tell more."""
        return self.array_names

    @abstractmethod
    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        """The arrays of one reference set; rows of shape (clips, dim), unit length if cosine."""

    @abstractmethod
    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """A function from rows (clips, dim) to scores (clips,), for what `learn` gave."""

    def fit(
        self, embeddings: ArrayLike, is_target: ArrayLike, section: ArrayLike | None = None
    ) -> None:
        """Learn from the normal clips of one machine.

        Parameters
        ----------
        embeddings
            Shape (clips, dim).
        is_target
            Shape (clips,): True for the target domain.
        section
            Shape (clips,): section numbers; needed only with `per_section`.

        Raises
        ------
        UserError
            Embeddings that are not finite, or too few clips.
        """
        rows = self.prepared(checked(embeddings))
        target = np.asarray(is_target).astype(bool)
        self.learned = {
            key: self._learn_set(key, rows[chosen], target[chosen])
            for key, chosen in self._sets(len(rows), section)
        }

    def score(self, embeddings: ArrayLike, section: ArrayLike | None = None) -> Array:
        """Anomaly scores, shape (clips,), finite and higher for more anomalous clips.

        Parameters
        ----------
        embeddings
            Shape (clips, dim).
        section
            Shape (clips,): section numbers; needed only with `per_section`.

        Raises
        ------
        UserError
            Embeddings that are not finite or of another width than the training clips', or a
            section without training clips.
        """
        given = checked(embeddings, may_be_empty=True)
        scores = np.empty(len(given))
        for key, chosen in self._sets(len(given), section):
            scorer = self.scorer(self._arrays(key, given.shape[1]))
            scores[chosen] = self._block_scores(scorer, given[chosen])
        return scores

    def prepared(self, embeddings: NDArray[np.floating]) -> Array:
        """Embeddings as `learn` and scorers get them: float64, of unit length unless euclidean."""
        rows = embeddings.astype(np.float64)
        return rows if self.metric == "euclidean" else unit_rows(rows)

    def state(self) -> dict[str, NDArray[np.floating]]:
        """All that was learned: "set/name" -> array, for npz or (as tensors) torch.save.

        Float64, or float32 where that holds the same values.
        """
        return {
            f"{key}/{name}": _compact(array)
            for key, arrays in self.learned.items()
            for name, array in arrays.items()
        }

    def load_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over what `state` of a backend with the same parameters gave.

        Raises
        ------
        UserError
            The state is of another kind of backend.
        """
        learned: dict[str, Arrays] = {}
        for path, array in state.items():
            key, _, name = path.rpartition("/")
            learned.setdefault(key, {})[name] = np.asarray(array, dtype=np.float64)
        for key, arrays in learned.items():
            needed = set(self.stored_names() or arrays)
            if set(arrays) != needed or (key == WHOLE_SET) == self.per_section:
                raise UserError(
                    f"stored backend: set {key!r} holds {sorted(arrays)}, but {self!r} needs "
                    f"{sorted(needed)}; fit the backend again"
                )
        self.learned = learned

    def _learn_set(self, key: str, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        try:
            learned = self.learn(rows, is_target)
            return {name: np.asarray(array, np.float64) for name, array in learned.items()}
        except TooFewClipsError as few:
            raise TooFewClipsError(self._where(key) + str(few), few.needed) from None
        except UserError as error:
            raise UserError(self._where(key) + str(error)) from None

    def _block_scores(self, scorer: Scorer, embeddings: NDArray[np.floating]) -> Array:
        scores = np.empty(len(embeddings))
        for block in blocks(len(scores)):
            rows = self.prepared(embeddings[block])
            found = np.asarray(scorer(rows))
            if found.shape != (len(rows),):
                raise UserError(
                    f"{type(self).__name__}: its scorer gave an array of shape {found.shape} for "
                    f"{len(rows)} embeddings; return one score for each, shape ({len(rows)},)"
                )
            scores[block] = found
        return scores

    def _sets(
        self, n_clips: int, section: ArrayLike | None
    ) -> Iterator[tuple[str, NDArray[np.bool_] | slice]]:
        """The reference sets that clips belong to: key, which clips."""
        if not self.per_section:
            yield WHOLE_SET, slice(None)
            return
        sections = np.asarray(section)
        if sections.shape != (n_clips,):
            raise ValueError(f"per_section needs a section for each of {n_clips} clips")
        for number in np.unique(sections):
            yield f"{number:02d}", sections == number

    def _arrays(self, key: str, dim: int) -> Arrays:
        if key not in self.learned:
            known = ", ".join(self.learned) or "none"
            raise UserError(f"{self._where(key)}no training clips; there are some for: {known}")
        arrays = self.learned[key]
        names = self.stored_names()
        width = arrays[names[0]].shape[-1] if names else dim
        if width != dim:
            raise UserError(
                f"{self._where(key)}embeddings have {dim} values, those of the training clips "
                f"{width}; fit the backend with embeddings of the same model"
            )
        return arrays

    def _where(self, key: str) -> str:
        return f"section {key}: " if self.per_section else ""


def checked(embeddings: ArrayLike, may_be_empty: bool = False) -> NDArray[np.floating]:
    """Embeddings as an array of shape (clips, dim), known to be finite.

    Raises
    ------
    UserError
        No clips (unless they may be missing), or values that are not finite.
    """
    array = np.asarray(embeddings)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(f"embeddings of shape (clips, dim) wanted, not {array.shape}")
    if not array.size and not may_be_empty:
        raise UserError("there are no training clips; check the data folder of this machine")
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum()  # a quick look first: of finite values it may be infinite, too
    if not np.isfinite(total):
        broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(broken):
            raise UserError(
                f"{len(broken)} of {len(array)} embeddings hold NaN or infinity, the first is clip "
                f"{broken[0]}; "
                + (
                    "leave out these clips, or mend their recordings"
                    if len(broken) < len(array)
                    else "the model gives no finite value for any clip, so train it again"
                )
            )
    return array


def _compact(array: Array) -> NDArray[np.floating]:
    """The array in half the bytes, where that changes no value."""
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    return narrow if np.array_equal(narrow, array) else array


def unit_rows(rows: Array) -> Array:
    """Rows divided by their Euclidean length, shape (n, dim).

    A row of zeros stays one: its cosine distance to any unit row then counts as 1/2.
    """
    length = np.sqrt(squared_lengths(rows))
    return rows * (1 / np.where(length > 0, length, 1))[:, None]


def squared_lengths(rows: Array) -> Array:
    """Squared Euclidean lengths of rows, shape (n,)."""
    found: Array = np.einsum("nd,nd->n", rows, rows)
    return found


def blocks(n_rows: int, size: int = BLOCK_ROWS) -> Iterator[slice]:
    """Slices that cover `n_rows` rows, `size` at a time."""
    for start in range(0, n_rows, size):
        yield slice(start, start + size)


def check_enough(kind: str, n_clips: int, what: str, needed: int) -> None:
    """Raise a TooFewClipsError where there are fewer clips than a parameter or a step needs."""
    if n_clips < needed:
        raise TooFewClipsError(
            f"{n_clips} {kind} clips, but {what} needs {needed} or more; "
            "add training clips or change the backend's parameters",
            needed,
        )
