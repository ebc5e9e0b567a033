"""One score from several, which must have the same scale: see `asd.scores.normalisation`."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from asd.errors import UserError
from asd.scores.table import ScoreTable

Array = npt.NDArray[np.float64]


def fuse(
    columns: Mapping[str, npt.ArrayLike],
    how: Literal["min", "mean"] = "min",
    weights: Mapping[str, float] | None = None,
) -> Array:
    """One score per clip, shape (clips,), from columns of shape (clips,).

    Parameters
    ----------
    columns
        Score name -> standardised scores; at least one.
    how
        "min": a clip is as anomalous as the column says that finds it most normal (Z-MIN, arXiv
        2606.19269). "mean": the mean, weighted by `weights`.
    weights
        Score name -> weight above 0, for "mean"; all alike by default.

    Raises
    ------
    UserError
        There is no column, or the weights are not one above 0 for each column.
    """
    if not columns:
        raise UserError("there is no score to fuse; name at least one")
    stacked = np.stack([np.asarray(values, dtype=np.float64) for values in columns.values()])
    if how == "min":
        if weights is not None:
            raise UserError("weights play no part in a minimum; leave them out, or take the mean")
        smallest: Array = stacked.min(axis=0)
        return smallest
    return np.average(stacked, axis=0, weights=_weights(list(columns), weights))


def fuse_tables(
    tables: Sequence[ScoreTable],
    how: Literal["min", "mean"] = "min",
    weights: Mapping[str, float] | None = None,
    name: str = "FUSED",
) -> ScoreTable:
    """All columns of standardised tables of the same clips as one column, see `fuse`.

    Raises
    ------
    UserError
        The tables are of different clips, or two columns have one name.
    """
    columns: dict[str, Array] = {}
    for table in tables:
        tables[0].check_same_clips(table)
        if twice := set(columns) & set(table.columns):
            raise UserError(f"score {min(twice)!r} stands in two tables; rename one")
        columns |= table.columns
    return tables[0].with_columns({name: fuse(columns, how, weights)})


def _weights(names: Sequence[str], weights: Mapping[str, float] | None) -> list[float] | None:
    if weights is None:
        return None
    if set(weights) != set(names) or not all(0 < weight < np.inf for weight in weights.values()):
        raise UserError(
            f"weights {dict(weights)} must be one number above 0 for each of {', '.join(names)}"
        )
    return [weights[name] for name in names]
