"""Scores by the networks of several epochs of one training, and their mean (epoch ensembles).

Source: Fujimura, Kuroyanagi and Toda, arXiv 2409.09332: the mean of the scores after epochs 12, 14
and 16, as they are; their program can weigh them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from asd.scores.fusion import fuse
from asd.systems.base import Scores

LAST = 0
"""Stands for the network at the end of the training, where no epochs are kept."""

_ENSEMBLE = "-ENSEMBLE"


@dataclass(frozen=True)
class KeptEpochs:
    """Which epochs of a training are scored.

    Parameters
    ----------
    epochs
        Their numbers, ascending; none is the end of the training alone, without an ensemble.
    weights
        How much each counts in the mean; none is all alike.
    """

    epochs: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def keys(self) -> tuple[int, ...]:
        """What networks are told apart by."""
        return self.epochs or (LAST,)

    def members(
        self, backends: Sequence[str], wanted: Collection[str] | None = None
    ) -> dict[str, tuple[int, str]]:
        """Score name -> the network and the backend that give it.

        Parameters
        ----------
        wanted
            Names of scores, means among them: only members that they need. None is all.
        """
        found = {
            f"{name}-EPOCH{epoch}" if epoch != LAST else name: (epoch, name)
            for name in backends
            for epoch in self.keys
        }
        if wanted is None:
            return found
        return {
            score: member
            for score, member in found.items()
            if score in wanted or member[1] + _ENSEMBLE in wanted
        }

    def score_names(self, backends: Sequence[str]) -> tuple[str, ...]:
        """Names of all scores: of each backend the mean over its epochs, then those of epochs."""
        members = self.members(backends)
        found = []
        for backend in backends:
            found += [backend + _ENSEMBLE] if self.epochs else []
            found += [score for score, (_, own) in members.items() if own == backend]
        return tuple(found)

    def with_ensembles(self, scores: Scores, backends: Sequence[str]) -> Scores:
        """The scores, and for each backend the mean over its epochs, in the order of their names.

        Parameters
        ----------
        scores
            Of `members`, shape (clips,) each; there is no mean where one is missing.
        """
        found = dict(scores)
        members = self.members(backends)
        for backend in backends if self.epochs else ():
            own = [score for score, (_, each) in members.items() if each == backend]
            if scores.keys() >= set(own):
                columns = {score: scores[score] for score in own}
                weights = dict(zip(own, self.weights, strict=True)) if self.weights else None
                found[backend + _ENSEMBLE] = fuse(columns, "mean", weights)
        return {name: found[name] for name in self.score_names(backends) if name in found}
