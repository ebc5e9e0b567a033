"""More references in a target domain of few clips: SMOTE (Chawla et al., JAIR 2002)."""

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, check_enough
from asd.errors import UserError


def oversampled_target(
    rows: Array, is_target: NDArray[np.bool_], ratio: float, n_neighbours: int
) -> Array:
    """The target rows, then synthetic ones on the lines between neighbouring target rows.

    Parameters
    ----------
    rows
        Shape (clips, dim), of both domains.
    is_target
        Shape (clips,).
    ratio
        How many target rows there shall be per source row. Where there are as many already,
        none are added.
    n_neighbours
        A synthetic row lies between a target row and one of this many nearest target rows.

    Returns
    -------
    Shape (target rows, dim). The random draws are always those of seed 0, as in
    dcase-asd-toolkit.

    Raises
    ------
    UserError
        imbalanced-learn is not installed, or there are too few target clips.
    """
    target = rows[is_target]
    n_wanted = int(ratio * (len(rows) - len(target)))
    if n_wanted <= len(target):
        return target
    check_enough("target", len(target), "smote_neighbours", n_neighbours + 1)
    try:
        from imblearn.over_sampling import SMOTE
    except ImportError:
        raise UserError(
            "smote_ratio needs imbalanced-learn, which is not installed; "
            "run: pip install 'asd[embedding]'"
        ) from None
    smote = SMOTE(sampling_strategy=ratio, k_neighbors=n_neighbours, random_state=0)
    resampled, labels = smote.fit_resample(rows, is_target.astype(int))
    oversampled: Array = resampled[labels == 1]
    return oversampled
