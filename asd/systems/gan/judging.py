"""How well scores of single vectors or images find anomalies. A higher score is more anomalous."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Detection:
    """Precision, recall and F1 of anomalies, each from 0 to 1."""

    precision: float
    recall: float
    f1: float


def judge(scores: NDArray[np.float64], is_anomaly: NDArray[np.bool_], rate: float) -> Detection:
    """Call the highest scores anomalies: those from the (1 - `rate`) quantile on.

    Parameters
    ----------
    scores, is_anomaly
        Shape (rows,).
    """
    found = scores >= np.quantile(scores, 1 - rate)
    hits = int(np.sum(found & is_anomaly))
    precision, recall = hits / int(found.sum()), hits / int(is_anomaly.sum())
    return Detection(precision, recall, 2 * precision * recall / max(precision + recall, 1e-300))


def precision_recall_area(scores: NDArray[np.float64], is_anomaly: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve, its corners joined by straight lines.

    Programs derived from that of Zenati et al. print it as "AUC". It is not the area under the
    ROC curve: scores without any information get `constant_score_area`, 0.75 where half of the
    rows are anomalies.

    Parameters
    ----------
    scores, is_anomaly
        Shape (rows,).

    Returns
    -------
    float
        NaN where there is no anomaly.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(is_anomaly[order])[last_of_ties]
    if not hits[-1]:
        return float("nan")
    precision = np.concatenate([[1.0], hits / (last_of_ties + 1)])
    recall = np.concatenate([[0.0], hits / hits[-1]])
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2))


def constant_score_area(is_anomaly: NDArray[np.bool_]) -> float:
    """The `precision_recall_area` of a score that is the same for all rows."""
    return (1 + float(np.mean(is_anomaly))) / 2
