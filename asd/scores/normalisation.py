"""Scores in units of held-out normal scores, so that machines and systems can be compared.

What is normal is told by normal clips that the model did not learn from, never by the clips that
are to be scored: a clip's score must not depend on which other clips are tested with it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asd.errors import UserError
from asd.scores.table import ScoreTable

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation (divisor n - 1) of normal scores, shape () or (columns,)."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, normal_scores: npt.ArrayLike, what: str = "scores") -> "Standardisation":
        """That of normal scores, shape (n,) or (n, columns).

        Raises
        ------
        UserError
            There are fewer than two, they are not finite, or those of a column are all equal;
            `what` says which scores they are.
        """
        normal = np.asarray(normal_scores, dtype=np.float64)
        if len(normal) < 2:
            raise UserError(
                f"{what}: {len(normal)} held-out normal scores, but to standardise by them needs "
                "2 or more; add training clips"
            )
        if not np.isfinite(normal).all():
            raise UserError(f"{what}: held-out normal scores are not finite; train the model again")
        if (normal.min(axis=0) == normal.max(axis=0)).any():
            raise UserError(
                f"{what}: all {len(normal)} held-out normal scores are equal, so they have no "
                "scale; look for copies of one clip among the training clips"
            )
        return cls(normal.mean(axis=0), normal.std(axis=0, ddof=1))

    def apply(self, scores: npt.ArrayLike) -> Array:
        """(score - mean) / deviation, of the shape given: (clips,) or (clips, columns)."""
        standard: Array = (np.asarray(scores, dtype=np.float64) - self.mean) / self.deviation
        return standard


def standardise(table: ScoreTable, normal: ScoreTable) -> ScoreTable:
    """Every column in standard deviations above the mean of held-out normal scores.

    Each machine type is taken for itself, as its reference clips are others. Where columns are
    distances to different reference sets (source and target clips, say), this scales each set for
    itself; the minimum over them (`asd.scores.fusion.fuse`) is then a score that no set dominates.
    Source: the standardisation of arXiv 2606.19269 and of arXiv 2509.10951, the latter with
    held-out normal clips in place of test clips.

    Parameters
    ----------
    table
        Clips to be judged.
    normal
        Held-out normal clips of the same machine types, with the same columns.

    Raises
    ------
    UserError
        A machine type or column has no normal scores, or they cannot be standardised by; see
        `Standardisation.of`.
    """
    known = dict(normal.by_machine())
    columns = {name: np.empty(len(table)) for name in table.columns}
    machines = np.array([clip.machine for clip in table.clips], dtype=object)
    for machine in dict.fromkeys(machines.tolist()):
        if machine not in known:
            raise UserError(
                f"{machine}: no held-out normal scores to standardise by; there are some for "
                f"{', '.join(known) or 'no machine type'}"
            )
        chosen = machines == machine
        for name, values in columns.items():
            scale = Standardisation.of(known[machine][name], f"{machine} {name}")
            values[chosen] = scale.apply(table[name][chosen])
    return table.with_columns(columns)
