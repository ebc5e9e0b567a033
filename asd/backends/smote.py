"""More references in a target domain of few clips: SMOTE (Chawla et al., JAIR 2002)."""

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, check_enough
from asd.errors import UserError


def synthetic_target(
    rows: Array, is_target: NDArray[np.bool_], ratio: float, n_neighbours: int
) -> Array:
    """Synthetic target rows, on the lines between neighbouring target rows.

    Parameters
    ----------
    rows
        Shape (clips, dim), of both domains.
    is_target
        Shape (clips,).
    ratio
        How many target rows, real and synthetic, there shall be per source row.
    n_neighbours
        A synthetic row lies between a target row and one of this many nearest target rows.

    Returns
    -------
    Shape (synthetic rows, dim), none where there are target rows enough. The random draws are
    always those of seed 0, as in dcase-asd-toolkit.

    Raises
    ------
    UserError
        imbalanced-learn is not installed, or there are too few target clips.
    """
    n_target = int(is_target.sum())
    if not count_synthetic(len(rows) - n_target, n_target, ratio):
        return rows[:0]
    check_enough("target", n_target, "smote_neighbours", n_neighbours + 1)
    try:
        from imblearn.over_sampling import SMOTE
    except ImportError:
        raise UserError(
            "smote_ratio needs imbalanced-learn, which is not installed; "
            "run: pip install 'asd[embedding]'"
        ) from None
    smote = SMOTE(sampling_strategy=ratio, k_neighbors=n_neighbours, random_state=0)
    resampled, _ = smote.fit_resample(rows, is_target.astype(int))
    synthetic: Array = resampled[len(rows) :]
    return synthetic


def count_synthetic(n_source: int, n_target: int, ratio: float) -> int:
    """How many synthetic target clips bring the target domain to `ratio` of the source clips."""
    return max(int(ratio * n_source) - n_target, 0)
