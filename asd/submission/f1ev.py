"""F1-EV: how good a decision threshold one can expect to find, from 0 to 1.

Source: K. Wilkinghoff and K. Imoto, "F1-EV score: measuring the likelihood of estimating a good
decision threshold for semi-supervised anomaly detection", ICASSP 2024.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asd.errors import UserError
from asd.evaluation.metrics import BoolArray, FloatArray


@dataclass(frozen=True)
class F1EV:
    """Expected F1 score over a range of thresholds, the best one, and its threshold."""

    value: float
    max_f1: float
    best_threshold: float


def f1_ev(is_anomaly: npt.ArrayLike, scores: npt.ArrayLike) -> F1EV:
    """Mean F1 score over all thresholds from the smallest to the largest score.

    With thresholds t_0 < ... < t_n (the distinct scores) and F1(t) of the decisions score > t,
    the value is the sum of (t_k+1 - t_k) F1(t_k) over (t_n - t_0); nan if all scores are equal.

    Parameters
    ----------
    is_anomaly, scores : (clips,)

    Raises
    ------
    UserError
        There is no score.
    """
    truth, values = _checked(is_anomaly, scores)
    return _over(np.unique(values), truth, values)


def bounded_f1_ev(is_anomaly: npt.ArrayLike, scores: npt.ArrayLike, alpha: float = 0.2) -> F1EV:
    """Mean F1 score over the thresholds that one might sensibly choose.

    The range is from `alpha` standard deviations of the normal scores below their mean to as many
    above the threshold with the best F1 score. Where a weak detector's range ends before it begins,
    the value is F1 at its lower end.

    Parameters
    ----------
    is_anomaly, scores : (clips,)
    alpha
        Width of the margins, in standard deviations (divisor n) of the normal scores.

    Raises
    ------
    UserError
        There is no score, or none of a normal clip.
    """
    truth, values = _checked(is_anomaly, scores)
    normal = values[~truth]
    if not normal.size:
        raise UserError("bounded F1-EV: there is no normal clip, so its range is undefined")
    margin = alpha * float(normal.std())
    lower = float(normal.mean()) - margin
    upper = f1_ev(truth, values).best_threshold + margin
    distinct = np.unique(values)
    inside = distinct[(distinct > lower) & (distinct < upper)]
    return _over(np.concatenate([[lower], inside, [upper]]), truth, values)


def _checked(is_anomaly: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[BoolArray, FloatArray]:
    truth = np.asarray(is_anomaly).astype(bool)
    values = np.asarray(scores, dtype=np.float64)
    if not values.size:
        raise UserError("F1-EV: there is no score")
    return truth, values


def _over(thresholds: FloatArray, truth: BoolArray, scores: FloatArray) -> F1EV:
    """F1-EV over rising thresholds, (n,)."""
    f1 = _f1_at(thresholds, truth, scores)
    best = int(np.argmax(f1))
    with np.errstate(invalid="ignore"):
        weights = np.diff(thresholds) / (thresholds[-1] - thresholds[0])
    value = float(np.sum(weights * f1[:-1])) if thresholds.size > 1 else float("nan")
    return F1EV(value, float(f1[best]), float(thresholds[best]))


def _f1_at(thresholds: FloatArray, truth: BoolArray, scores: FloatArray) -> FloatArray:
    """F1 score of the decisions score > threshold, (thresholds,); 0 without a true positive."""
    anomalous = np.sort(scores[truth])
    hits = anomalous.size - np.searchsorted(anomalous, thresholds, "right")
    called = scores.size - np.searchsorted(np.sort(scores), thresholds, "right")
    # F1 = 2 TP / (2 TP + FP + FN), and the denominator is all that is called or anomalous
    return np.asarray(2.0 * hits / np.maximum(called + anomalous.size, 1), dtype=np.float64)
