"""Metrics of anomaly scores: arrays in, numbers out. A higher score means more anomalous.

A metric that is undefined (one class only, no clip of a domain) is nan, never an error.

Sources: dcase.community, challenge2020-2026, task 2, "Evaluation"; D. McClish, "Analyzing a
portion of the ROC curve", Medical Decision Making 9 (1989), for the standardised partial area.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from asd.challenge.catalog import OfficialScore

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

EPSILON = sys.float_info.epsilon
DOMAIN_METRICS = (
    "s_auc", "t_auc", "s_pauc", "t_pauc", "smix_auc", "tmix_auc", "mix_auc", "mix_pauc",
)  # fmt: skip


def roc_curve(
    is_anomaly: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[FloatArray, FloatArray] | None:
    """Corners of the ROC curve, from (0, 0) to (1, 1).

    Clips with the same score become one straight piece. Corners on a straight line are left out,
    as scikit-learn does: the areas then agree with its to the last bit.

    Parameters
    ----------
    is_anomaly : (clips,)
        Truth; non-zero stands for an anomaly.
    scores : (clips,)

    Returns
    -------
    false and true positive rates, (corners,) each; None where only one class is present or a
    score is nan.
    """
    truth = np.asarray(is_anomaly).astype(bool)
    values = np.asarray(scores, dtype=np.float64)
    if truth.all() or not truth.any() or np.isnan(values).any():
        return None
    fps, tps = threshold_counts(truth, values)
    bends = (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0)
    ends = np.ones(1, dtype=bool)
    if fps.size > 2:
        corners = np.concatenate([ends, bends, ends])
        fps, tps = fps[corners], tps[corners]
    zero = np.zeros(1)
    return np.concatenate([zero, fps]) / fps[-1], np.concatenate([zero, tps]) / tps[-1]


def auc(is_anomaly: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: the share of pairs where the anomaly scores higher, ties half.

    Parameters
    ----------
    is_anomaly : (clips,)
    scores : (clips,)
    """
    curve = roc_curve(is_anomaly, scores)
    return float("nan") if curve is None else _area(*curve)


def partial_auc(is_anomaly: npt.ArrayLike, scores: npt.ArrayLike, max_fpr: float = 0.1) -> float:
    """Area under the ROC curve up to a false positive rate, standardised after McClish.

    0.5 is chance and 1 is perfect, at any `max_fpr` in (0, 1].

    Parameters
    ----------
    is_anomaly : (clips,)
    scores : (clips,)
    """
    curve = roc_curve(is_anomaly, scores)
    return float("nan") if curve is None else partial_area(*curve, max_fpr)


def threshold_counts(truth: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """False and true positives at every distinct score taken as threshold, falling: (distinct,)."""
    order = np.argsort(scores, kind="stable")[::-1]
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), ordered.size - 1)
    tps = np.cumsum(truth[order], dtype=np.float64)[last]
    return 1 + last - tps, tps


def _area(fpr: FloatArray, tpr: FloatArray) -> float:
    return float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2.0).sum())


def partial_area(fpr: FloatArray, tpr: FloatArray, max_fpr: float) -> float:
    """Standardised area under the corners (fpr, tpr), from (0, 0) to (1, 1), up to `max_fpr`."""
    if max_fpr == 1:
        return _area(fpr, tpr)
    stop = int(np.searchsorted(fpr, max_fpr, "right"))
    edge = np.interp(max_fpr, fpr[stop - 1 : stop + 1], tpr[stop - 1 : stop + 1])
    area = _area(np.append(fpr[:stop], max_fpr), np.append(tpr[:stop], edge))
    chance = 0.5 * max_fpr**2
    return 0.5 * (1 + (area - chance) / (max_fpr - chance))


def domain_metrics(
    scores: npt.ArrayLike,
    is_anomaly: npt.ArrayLike,
    is_target: npt.ArrayLike,
    max_fpr: float = 0.1,
) -> dict[str, float]:
    """AUC and pAUC of a section by domain.

    Parameters
    ----------
    scores, is_anomaly, is_target : (clips,)

    Returns
    -------
    s_auc, t_auc, s_pauc, t_pauc
        Only the clips of the source or target domain.
    smix_auc, tmix_auc
        That domain's normal clips against the anomalies of both domains (the rule since 2022).
    mix_auc, mix_pauc
        All clips.
    """
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(is_anomaly).astype(bool)
    target = np.asarray(is_target).astype(bool)
    found: dict[str, float] = {}
    for letter, domain in (("s", ~target), ("t", target)):
        mixed = domain | truth
        has_normal = bool((domain & ~truth).any())
        found[f"{letter}_auc"] = auc(truth[domain], values[domain])
        found[f"{letter}_pauc"] = partial_auc(truth[domain], values[domain], max_fpr)
        found[f"{letter}mix_auc"] = auc(truth[mixed], values[mixed]) if has_normal else np.nan
    found["mix_auc"] = auc(truth, values)
    found["mix_pauc"] = partial_auc(truth, values, max_fpr)
    return {name: found[name] for name in DOMAIN_METRICS}


def precision_recall_f1(
    is_anomaly: npt.ArrayLike, decisions: npt.ArrayLike
) -> tuple[float, float, float]:
    """Precision, recall and F1 score of decisions; a ratio with denominator zero is 0.

    Parameters
    ----------
    is_anomaly, decisions : (clips,)
    """
    truth = np.asarray(is_anomaly).astype(bool)
    called = np.asarray(decisions).astype(bool)
    hits = float((truth & called).sum())
    precision = hits / max(float(called.sum()), EPSILON)
    recall = hits / max(float(truth.sum()), EPSILON)
    return precision, recall, 2.0 * precision * recall / max(precision + recall, EPSILON)


def arithmetic_mean(values: Iterable[float] | FloatArray) -> float:
    """Mean of the values that are not nan; nan where there is none."""
    kept = _defined(values)
    return float(np.mean(kept)) if kept.size else float("nan")


def harmonic_mean(values: Iterable[float] | FloatArray, floor: float = EPSILON) -> float:
    """Harmonic mean of max(value, floor) over the values that are not nan; nan if there is none.

    The organisers floor zeros at the machine epsilon; with `floor` 0 a single zero makes it 0.
    """
    kept = np.maximum(_defined(values), floor)
    if not kept.size:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(1.0 / np.mean(1.0 / kept))


def sample_std(values: Iterable[float] | FloatArray) -> float:
    """Standard deviation, divisor n - 1, of the values that are not nan; nan for less than two."""
    kept = _defined(values)
    return float(np.std(kept, ddof=1)) if kept.size > 1 else float("nan")


def _defined(values: Iterable[float] | FloatArray) -> FloatArray:
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    return array[~np.isnan(array)]


def official_score(rule: OfficialScore, sections: Sequence[Mapping[str, float]]) -> float:
    """The year's official score of one machine type.

    Parameters
    ----------
    rule
        Of the challenge year.
    sections
        `domain_metrics` of every section. nan where one of the rule's metrics is: a score from
        a part of them could not be compared with anything.
    """
    values = [section[name] for section in sections for name in rule.metrics]
    return float("nan") if np.isnan(values).any() else official_mean(rule, values)


OWN_DOMAIN_METRICS = ("s_auc", "t_auc", "mix_pauc")


def own_domain_mean(sections: Iterable[Mapping[str, float]]) -> float:
    """Harmonic mean over sections of AUC of either domain's own clips, and pAUC of all.

    khoaphamanh/DCASE2024 states it for the development data of 2024, where it is of 21 values
    (seven machine types of one section). Not the official rule, whose AUC of a domain takes the
    anomalies of both.

    Parameters
    ----------
    sections
        `domain_metrics` of every section of every machine type; nan where one of the metrics is.
    """
    values = [section.get(name, np.nan) for section in sections for name in OWN_DOMAIN_METRICS]
    return float("nan") if np.isnan(values).any() else harmonic_mean(values)


def official_mean(rule: OfficialScore, values: Iterable[float]) -> float:
    """The year's kind of mean, over machine types for the total."""
    return arithmetic_mean(values) if rule.mean == "arithmetic" else harmonic_mean(values)
