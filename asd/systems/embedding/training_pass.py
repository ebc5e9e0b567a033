"""Embeddings as a training saw them, for backends whose references they are.

The published program of `khoaphamanh/DCASE2024` compares test clips with the embeddings that its
last epoch made of the training data: in training mode, of the rows that were drawn, while weights
changed from batch to batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd.backends.base import Backend
from asd.clips import Clip
from asd.scores.table import ScoreTable
from asd.systems.base import Scores, State
from asd.systems.embedding.thresholds import FOLDS, assign_folds


@dataclass
class TrainingPass:
    """The embeddings of an epoch, batch by batch.

    Parameters
    ----------
    clips
        Of each batch the clips that its rows were made of, shape (n, 2).
    embeddings
        Shape (n, dim), on the CPU.
    """

    clips: list[Tensor] = field(default_factory=list)
    embeddings: list[Tensor] = field(default_factory=list)

    def begin(self) -> None:
        """Forget what was kept, where an epoch begins."""
        self.clips, self.embeddings = [], []

    def add(self, clips: Tensor, embeddings: Tensor) -> None:
        """Keep a batch."""
        self.clips.append(clips)
        self.embeddings.append(embeddings.detach().float().cpu())

    def state(self) -> State:
        """What was kept; nothing of an epoch that is not the last."""
        if not self.clips:
            return {}
        return {"clips": torch.cat(self.clips), "embeddings": torch.cat(self.embeddings)}

    def load_state(self, state: State) -> None:
        """Take over what `state` gave."""
        self.begin()
        if state:
            self.add(state["clips"].cpu(), state["embeddings"])

    def rows(self) -> "TrainedRows":
        """All that was kept."""
        state = self.state()
        return TrainedRows(state["clips"].numpy(), state["embeddings"].numpy())


@dataclass(frozen=True)
class TrainedRows:
    """Rows that were trained on.

    Parameters
    ----------
    clips
        Of each row the clip that it was made of, and its neighbour, shape (rows, 2); -1 for a
        clip that is not among those that are looked at.
    embeddings
        Shape (rows, dim).
    """

    clips: NDArray[np.int64]
    embeddings: NDArray[np.float32]

    def of(self, members: NDArray[np.intp] | Sequence[int], count: int) -> "TrainedRows":
        """The rows of some of `count` clips, with these numbered from 0."""
        places = np.full(max(count, int(self.clips.max()) + 1), -1)
        places[np.asarray(members)] = np.arange(len(members))
        own = places[self.clips]
        chosen = own[:, 0] >= 0
        return TrainedRows(own[chosen], self.embeddings[chosen])

    def without(self, out: NDArray[np.bool_]) -> "TrainedRows":
        """The rows in which no clip has a part that `out` marks, shape (clips,)."""
        kept = ~(np.append(out, False)[self.clips]).any(axis=1)  # the last one stands for -1
        return TrainedRows(self.clips[kept], self.embeddings[kept])

    def fit(self, backends: dict[str, Backend], clips: Sequence[Clip]) -> None:
        """Fit backends to the rows; domains and sections are those of their clips."""
        own = [clips[i] for i in self.clips[:, 0]]
        is_target = np.array([clip.is_target for clip in own], dtype=bool)
        section = np.array([int(clip.section) for clip in own], dtype=np.int64)
        for backend in backends.values():
            backend.fit(self.embeddings, is_target, section)


def held_out_by_rows(
    make_backends: Callable[[], dict[str, Backend]],
    clips: Sequence[Clip],
    embeddings: NDArray[np.float32],
    rows: TrainedRows,
) -> ScoreTable:
    """As `thresholds.held_out_table`, with references that training saw.

    A clip's own embedding, in evaluation mode, is scored by rows in which no clip of its fold has
    a part.

    Parameters
    ----------
    embeddings
        Of `clips`, shape (clips, dim).
    rows
        Those of `clips`.
    """
    is_target = np.array([clip.is_target for clip in clips], dtype=bool)
    section = np.array([int(clip.section) for clip in clips], dtype=np.int64)
    fold = assign_folds(is_target, section)
    scores: Scores = {name: np.empty(len(fold)) for name in make_backends()}
    for number in range(FOLDS):
        out = fold == number
        if out.any():
            backends = make_backends()
            rows.without(out).fit(backends, clips)
            for name, backend in backends.items():
                scores[name][out] = backend.score(embeddings[out], section[out])
    held_out = np.flatnonzero(fold >= 0)
    return ScoreTable(
        tuple(clips[int(i)] for i in held_out), {name: v[held_out] for name, v in scores.items()}
    )
