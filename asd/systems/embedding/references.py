"""Which normal training clip an embedding is nearest to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import unit_rows
from asd.backends.neighbours import Neighbours
from asd.clips import Clip
from asd.scores.table import ScoreTable
from asd.systems.base import State


@dataclass(frozen=True)
class References:
    """The training clips of a machine type and the directions of their embeddings.

    Directions are kept in half precision: they serve to show a clip, not to score.

    Parameters
    ----------
    clips
        The training clips.
    directions
        Embeddings of unit length, shape (clips, dim), float16.
    """

    clips: tuple[Clip, ...]
    directions: NDArray[np.float16]

    @classmethod
    def of(cls, clips: Sequence[Clip], embeddings: NDArray[np.float32]) -> "References":
        """The references that some clips make."""
        return cls(tuple(clips), unit_rows(embeddings.astype(np.float64)).astype(np.float16))

    def nearest(self, embeddings: NDArray[np.float32]) -> list[Clip]:
        """The clip of the smallest cosine distance to each embedding of shape (n, dim)."""
        neighbours = Neighbours(self.directions.astype(np.float64), "cosine")
        chosen = neighbours.nearest(unit_rows(embeddings.astype(np.float64)), 1)[0]
        return [self.clips[i] for i in chosen[:, 0]]

    def state(self) -> State:
        """Facts of the clips, and the directions."""
        import torch

        table = ScoreTable(self.clips, {})
        return {"clips": table.to_state(), "directions": torch.from_numpy(self.directions)}

    @classmethod
    def from_state(cls, state: Any) -> "References":
        """Take over what `state` gave."""
        return cls(ScoreTable.from_state(state["clips"]).clips, state["directions"].numpy())
