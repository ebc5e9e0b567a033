"""One score from several backends: the smallest, each in units of its own normal scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, TooFewClipsError, check_enough
from asd.backends.registry import SINGLE, find_backend
from asd.errors import UserError
from asd.extensions import absolute_reference
from asd.schema.node import Node
from asd.schema.values import Range

SMALLEST_DEVIATION = 1e-6
"""Least deviation of normal scores, as a share of the largest: keeps scores finite at copies."""

_SORTED_BY = 8
"""Values that put clips in an order of their own: those that agree in all are copies."""


@dataclass(frozen=True)
class Member:
    """A backend that another is made of.

    Parameters
    ----------
    kind
        Its name, or "file.py:Class".
    parameters
        Its keyword parameters.
    """

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_node(cls, node: Node) -> "Member":
        """A name, or a mapping of `class` and its keys."""
        entries = node.items() if node.is_mapping() else {"class": node}
        if "class" not in entries:
            raise node.error(f"key 'class' is missing; choose from {', '.join(SINGLE)}")
        entry = entries.pop("class")
        kind = absolute_reference(str(entry.scalar()), Path(node.file).parent, Path())
        try:
            found = find_backend(kind, SINGLE)
            member = cls(kind, node.read_arguments(found, entries))
            member.make()
        except UserError as error:
            told = str(error).startswith(node.file)
            raise error if told else entry.error(str(error)) from None
        return member

    def to_plain(self) -> dict[str, Any]:
        """The backend as it stands in a recipe."""
        return {"class": self.kind, **self.parameters}

    def make(self) -> Backend:
        """An unfitted backend."""
        try:
            return find_backend(self.kind, SINGLE)(**self.parameters)
        except TypeError as error:
            raise UserError(f"backend {self.kind}: {error}") from None
        except UserError as error:
            raise UserError(f"backend {self.kind}: {error}") from None


FOUR = tuple(Member(kind) for kind in ("knn", "mahalanobis", "rescaled_knn", "pca_residual"))


@dataclass(kw_only=True)
class ZMin(Backend):
    """The smallest of several backends' scores, each standardised by held-out normal clips.

    z_b(x) = (s_b(x) - m_b) / d_b, where m_b and d_b are mean and standard deviation of the scores
    of training clips by a backend b that was fitted without them; the score is the smallest z_b:
    a clip is as anomalous as that backend says which finds it most normal. Test clips play no part
    in m_b and d_b. Source: arXiv 2606.19269 (Z-MIN), with the four backends of the default; how the
    clips are held out is a choice made here.

    Parameters
    ----------
    metric
        Plays no part: each backend has its own.
    of
        The backends.
    folds
        Into how many parts the clips of either domain are dealt; each part is scored by backends
        fitted to the others. A number at least as large as that of the clips holds out each clip
        alone. The only clip of a domain is never held out.
    """

    of: tuple[Member, ...] = FOUR
    folds: Annotated[int, Range(2)] = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.of = tuple(each if isinstance(each, Member) else Member(str(each)) for each in self.of)
        if not self.of:
            raise UserError("of names no backend; add one")
        self._members = [member.make() for member in self.of]

    def members(self) -> list[Backend]:
        """The backends that it is made of."""
        return self._members

    @property
    def smallest_dim(self) -> int:
        """What all backends can do with."""
        return int(np.lcm.reduce([member.smallest_dim for member in self._members]))

    def stored_names(self) -> tuple[str, ...]:
        """Means and deviations, and the arrays of each backend, "0-source" and so on."""
        if not all(member.stored_names() for member in self._members):
            return ()
        return (
            "centre",
            "scales",
            *(
                f"{number}-{name}"
                for number, member in enumerate(self._members)
                for name in member.stored_names()
            ),
        )

    def prepared(self, embeddings: NDArray[np.floating]) -> Array:
        """Float64; each backend brings them to unit length for itself, where its metric wants."""
        return embeddings.astype(np.float64)

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
        """What each backend learns, and mean and deviation of its normal scores."""
        check_enough("training", len(rows), "standardising by held-out clips", 3)
        found = {"centre": rows.mean(axis=0)}
        fold = self._deal(rows, is_target)
        scales = []
        for number, member in enumerate(self._members):
            try:
                scales.append(self._scale(member, rows, is_target, fold))
                learned = _learn(member, rows, is_target)
            except TooFewClipsError as few:
                raise TooFewClipsError(f"{self.of[number].kind}: {few}", few.needed) from None
            found |= {f"{number}-{name}": array for name, array in learned.items()}
        return {**found, "scales": np.array(scales)}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Standard deviations above the mean of normal scores."""
        means, deviations = arrays["scales"].T
        scorers = [
            _scorer(member, of_member(arrays, number))
            for number, member in enumerate(self._members)
        ]

        def scores(rows: Array) -> Array:
            each = np.stack([scorer(rows) for scorer in scorers], axis=1)
            smallest: Array = ((each - means) / deviations).min(axis=1)
            return smallest

        return scores

    def _deal(self, rows: Array, is_target: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The part of each clip, -1 for one that is never held out; whatever their order."""
        fold, dealt = np.full(len(rows), -1), 0
        for domain in (~is_target, is_target):
            members = np.flatnonzero(domain)
            if len(members) > 1:
                ordered = members[np.lexsort(rows[members, :_SORTED_BY].T)]
                fold[ordered] = (dealt + np.arange(len(members))) % self.folds
                dealt += len(members)
        return fold

    def _scale(
        self,
        member: Backend,
        rows: Array,
        is_target: NDArray[np.bool_],
        fold: NDArray[np.intp],
    ) -> tuple[float, float]:
        """Mean and standard deviation of a backend's scores of held-out clips."""
        scores = []
        for number in np.unique(fold[fold >= 0]):
            out = fold == number
            arrays = _learn(member, rows[~out], is_target[~out])
            scores.append(_scorer(member, arrays)(rows[out]))
        normal = np.concatenate(scores)
        deviation = float(normal.std())
        smallest = SMALLEST_DEVIATION * float(np.abs(normal).max())
        return float(normal.mean()), max(deviation, smallest) or 1.0


def _learn(member: Backend, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:
    learned = member.learn(member.prepared(rows), is_target)
    return {name: np.asarray(array, np.float64) for name, array in learned.items()}


def _scorer(member: Backend, arrays: Mapping[str, Array]) -> Scorer:
    score = member.scorer(arrays)
    return lambda rows: np.asarray(score(member.prepared(rows)))


def of_member(arrays: Mapping[str, Array], number: int) -> Arrays:
    """What the member of that number learned, of all that was learned."""
    start = f"{number}-"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
