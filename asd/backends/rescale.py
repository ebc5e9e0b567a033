"""Distance to the nearest training clips, relative to how densely clips lie around these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asd.backends.base import Array, Arrays, Backend, Scorer, check_enough
from asd.backends.neighbours import Indices, Neighbours, nearest_others
from asd.schema.values import Count, Range, Share

SMALLEST_DENSITY = 1e-6
"""Least local distance, as a share of the mean over the set: keeps quotients finite at copies."""

SMALLEST_SPREAD = 1e-6
"""Least relative deviation of local distances from which VarMin's slope is estimated."""

Form: TypeAlias = Literal["plain", "ratio", "difference", "varmin", "log_varmin"]


@dataclass(kw_only=True)
class RescaledKnn(Backend):
    """Mean over the k smallest distances to training clips, each relative to a local distance.

    The local distance b of a training clip is the mean distance D to its `k_density` nearest other
    training clips, of either domain; so clips of a sparse target domain are not far from
    everything merely because they are few. No domain labels are needed.
    Source of "ratio", "difference" and `decay`: K. Wilkinghoff, H. Yang, J. Ebbers, F. G. Germain,
    G. Wichern, J. Le Roux, "Keeping the balance: anomaly score calculation for domain
    generalization", ICASSP 2025, and "Local density-based anomaly score normalization for domain
    generalization", arXiv 2509.10951. Source of "varmin": Matsumoto et al., DCASE Workshop 2025; of
    "log_varmin": arXiv 2603.04605, with `k_density: 1`.

    With "cosine" both are cosine distances, as in the papers. With "half_chord" both are lengths
    of chords, as dcase-asd-toolkit takes them for its published scores: the square root of each
    quotient, were the local distance that of one neighbour.

    Training clips that lie apart from all others spoil every form, if no `limit` is set: their
    local distance is so large that almost any clip, normal or not, lies at about one local
    distance from them (ratio 1, difference 0). That is then the score of most clips, and one far
    from all normal ones can score lower than one among them. A few clips in a thousand do it: with
    3 outliers among 1,000 unit vectors of dimension 32 the AUC fell from 1.00 to 0.86 ("ratio",
    "difference") or 0.60 ("varmin"), and was 1.00 with `limit: 3`.

    Parameters
    ----------
    k
        Distances that the score is a mean of.
    k_density
        Neighbours of the local distance.
    decay
        None, or from 0 to 1 for the GWRP variant: the local distance is the mean over all other
        training clips, weighted by decay^0, decay^1, ... in the order of their distances (global
        weighted rank pooling, Kolesnikov and Lampert, ECCV 2016); `k_density` then does not
        count. 0 takes the nearest clip alone, 1 the mean over all.
    form
        "plain": D alone.
        "ratio": D / b, without unit and about 1 for clips that lie like training clips.
        "difference": D - b, in units of the metric, may be negative.
        "varmin": D - alpha b, where alpha is the slope of the training clips' own distances to
        their nearest clip over that one's local distance: the factor that leaves least variance.
        "log_varmin": log D - alpha log b, with alpha the slope of the logarithms. What D and b are
        in units of, the mean of b, shifts all scores of a reference set alike.
    limit
        None, or 1 or more: local distances below median / limit or above median · limit, the
        median over all training clips, are set to these. 1 ranks clips by their plain distance, 3
        holds outliers off and still balances domains whose clips lie up to three times as far
        apart as most. A "ratio" then lies within a factor `limit` of plain distance / median: a
        clip never scores lower than another that is `limit`² times nearer. Differences lie
        between plain distance - limit · median and plain distance - median / limit.
        "varmin" and "log_varmin" estimate their slope from training clips within the limits alone.

    No score falls where the distances to all training clips grow, whatever the form.
    """

    k: Count = 1
    k_density: Count = 4
    decay: Share | None = None
    form: Form = "ratio"
    limit: Annotated[float, Range(1)] | None = None

    array_names = ("references", "local_distance")

    def learn(self, rows: Array, is_target: NDArray[np.bool_]) -> Arrays:  # noqa: ARG002
        """All rows, and the local distance of each, as the form takes it (alpha in it)."""
        check_enough("training", len(rows), "k", self.k)
        if self.form == "plain":
            return {"references": rows, "local_distance": np.ones(len(rows))}
        nearest, distances, weights = self._others(rows)
        local = distances @ weights
        kept = within_limits(local, self.limit)
        if self.form == "varmin":
            sound = kept == local
            pairs = distances[sound, 0], kept[nearest[sound, 0]]
            kept = kept * least_variance_slope(*pairs)
        elif self.form == "log_varmin" and kept.any():
            unit = kept.mean()
            pairs = distances[:, 0] / unit, kept[nearest[:, 0]] / unit
            sound = (kept == local) & (np.minimum(*pairs) > SMALLEST_DENSITY)
            slope = log_slope(*(each[sound] for each in pairs))
            kept = unit * np.maximum(kept / unit, SMALLEST_DENSITY) ** slope
        return {"references": rows, "local_distance": kept}

    def scorer(self, arrays: Mapping[str, Array]) -> Scorer:
        """Scores without unit if "ratio" or "log_varmin", else in units of the metric."""
        local = arrays["local_distance"]
        if self.form in ("ratio", "log_varmin"):
            local = np.maximum(local, SMALLEST_DENSITY * local.mean()) if local.any() else local + 1
            references = Neighbours(arrays["references"], self.metric, scale=1 / local)
        elif self.form == "plain":
            references = Neighbours(arrays["references"], self.metric)
        else:
            references = Neighbours(arrays["references"], self.metric, offset=local)
        if self.form == "log_varmin":
            return lambda rows: log_of(references.smallest(rows, self.k)).mean(axis=1)
        return lambda rows: references.smallest(rows, self.k).mean(axis=1)

    def _others(self, rows: Array) -> tuple[Indices, Array, Array]:
        """Nearest other rows, distances to them (n, ranks), weights of these ranks (ranks,)."""
        if self.decay is None:
            check_enough("training", len(rows), "k_density", self.k_density + 1)
            weights = np.full(self.k_density, 1 / self.k_density)
        else:
            check_enough("training", len(rows), "decay", 2)
            weights = self.decay ** np.arange(len(rows) - 1.0)
            weights /= weights.sum()
            weights = weights[weights > np.finfo(np.float64).eps]
        return *nearest_others(rows, len(weights), self.metric), weights


def within_limits(local: Array, limit: float | None) -> Array:
    """Local distances (n,), those beyond `limit` times their median, up or down, set to that.

    The median is that of the distances above 0, as copies of one clip may be most of a set.
    """
    if limit is None or not local.any():
        return local
    median = np.median(local[local > 0])
    return np.clip(local, median / limit, median * limit)


def least_variance_slope(distance: Array, local: Array) -> float:
    """The factor alpha for which distance - alpha · local varies least.

    Parameters
    ----------
    distance, local
        Shape (n,): distance of each training clip to its nearest other one, and the local distance
        of that one.

    Returns
    -------
    0 where the local distances are all alike or there are none.
    """
    if not len(local):
        return 0.0
    deviation = local - local.mean()
    variance = np.square(deviation).mean()
    if variance <= np.square(SMALLEST_SPREAD * local.mean()):
        return 0.0
    return float((deviation * (distance - distance.mean())).mean() / variance)


def log_slope(distance: Array, local: Array) -> float:
    """`least_variance_slope` of the logarithms of values above 0, shape (n,)."""
    if not len(local):
        return 0.0
    logs = np.log(local)
    if logs.std() <= SMALLEST_SPREAD:
        return 0.0
    return least_variance_slope(np.log(distance), logs)


def log_of(quotients: Array) -> Array:
    """Logarithms of distances in units of local ones; that of a copy stays finite."""
    found: Array = np.log(np.maximum(quotients, SMALLEST_DENSITY))
    return found
