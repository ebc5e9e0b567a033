"""Confidence of AUC and pAUC by leaving out one clip at a time.

Source: A. Mesaros et al., "Sound event detection in the DCASE 2017 challenge", IEEE/ACM TASLP 27
(2019), section IV; the organisers' evaluators report the mean of the two half-widths.
"""

import numpy as np
import numpy.typing as npt

from asd.evaluation.metrics import FloatArray, partial_area, threshold_counts


def ci95(is_anomaly: npt.ArrayLike, scores: npt.ArrayLike, max_fpr: float = 0.1) -> float:
    """Mean half-width of the 95 % intervals of AUC and pAUC, as the evaluators compute it.

    nan with fewer than two clips of a class.

    Parameters
    ----------
    is_anomaly, scores : (clips,)
    """
    truth = np.asarray(is_anomaly).astype(bool)
    fps, tps = threshold_counts(truth, np.asarray(scores, dtype=np.float64))
    if min(fps[-1], tps[-1]) < 2:
        return float("nan")
    # Clips of one class and score leave the same areas behind: how many are in each such group?
    counts = np.concatenate([np.diff(tps, prepend=0), np.diff(fps, prepend=0)])
    areas = _auc_without_one(fps, tps)
    partial = _partial_auc_without_one(fps, tps, max_fpr)
    return (_half_width(areas, counts) + _half_width(partial, counts)) / 2


def _auc_without_one(fps: FloatArray, tps: FloatArray) -> FloatArray:
    """AUC without one anomaly of each distinct score, then without one normal clip: (2 * n,)."""
    n_normal, n_anomaly = fps[-1], tps[-1]
    normal, anomalies = np.diff(fps, prepend=0), np.diff(tps, prepend=0)
    won_by_anomaly = n_normal - fps + normal / 2
    lost_by_normal = tps - anomalies / 2
    won = float(anomalies @ won_by_anomaly)
    without_anomaly = (won - won_by_anomaly) / ((n_anomaly - 1) * n_normal)
    without_normal = (won - lost_by_normal) / (n_anomaly * (n_normal - 1))
    return np.concatenate([without_anomaly, without_normal])


def _partial_auc_without_one(fps: FloatArray, tps: FloatArray, max_fpr: float) -> FloatArray:
    """As `_auc_without_one`, of the standardised partial area."""
    fpr, tpr = np.append(0, fps) / fps[-1], np.append(0, tps) / tps[-1]
    fpr_less, tpr_less = np.append(0, fps) / (fps[-1] - 1), np.append(0, tps) / (tps[-1] - 1)
    drop_fpr, drop_tpr = 1 / (fps[-1] - 1), 1 / (tps[-1] - 1)
    found = np.empty(2 * fps.size)
    for i in range(fps.size):
        below = slice(i + 1, None)  # the clip left out counts at its own threshold and below
        moved = tpr_less.copy()
        moved[below] -= drop_tpr
        found[i] = partial_area(fpr, moved, max_fpr)
        moved = fpr_less.copy()
        moved[below] -= drop_fpr
        found[fps.size + i] = partial_area(moved, tpr, max_fpr)
    return found


def _half_width(estimates: FloatArray, counts: FloatArray) -> float:
    from scipy.special import stdtrit  # slow to import

    n = float(counts.sum())
    present = counts > 0
    values, weights = estimates[present], counts[present]
    mean = float(values @ weights) / n
    spread = float(((values - mean) ** 2) @ weights)
    return float(-stdtrit(n - 1, 0.025)) * float(np.sqrt(spread / (n * (n - 1))))
