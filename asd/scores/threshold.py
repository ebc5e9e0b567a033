"""Decision thresholds, from scores of normal clips that a model did not learn from.

`ConformalRule` promises a rate of false alarms. `GammaFit` is the public baseline's rule, kept for
its results; `check_gamma` says where it means nothing.
"""

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asd.clips import Clip
from asd.errors import UserError

_log = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]

USUAL_RATE = 0.05
"""False-alarm rate on one's own recordings where none is asked for."""

RATE_ROUNDING = 1e-12
"""What is added to a false-alarm rate, so that 1 - 0.9 counts as 0.1."""

FACTOR = 3.0
"""How many times fewer or more clips than wanted a gamma threshold may pass or flag."""

CHANCE = 1e-3
"""A share that is off by `FACTOR` counts where good thresholds give it more rarely than this."""


QUANTILE_HINT = "lower --decision_threshold to {quantile}"
RATE_HINT = "raise --false_alarms to {rate}"


class ConformalRule:
    """Flags clips that few held-out normal clips score as high as; no distribution is assumed.

    The p-value of a score s is (1 + #{held-out scores >= s}) / (n + 1), and a clip is flagged
    where it is at most the false-alarm rate. A normal clip that is exchangeable with the n
    held-out ones is then flagged with a probability of at most that rate, over the draw of all
    n + 1 (V. Vovk, A. Gammerman, G. Shafer, "Algorithmic Learning in a Random World", 2005;
    S. Bates et al., "Testing for outliers with conformal p-values", Annals of Statistics 2023).

    Scores are compared as result files hold them, rounded to float32, so that decisions can be
    had again from the files.

    Parameters
    ----------
    normal_scores
        Shape (n,): scores of held-out normal clips, none or more.

    Raises
    ------
    UserError
        A score is not finite.
    """

    def __init__(self, normal_scores: npt.ArrayLike) -> None:
        self.normal_scores: Array = np.sort(_as_stored(normal_scores, "held-out normal"))

    @property
    def usual_rate(self) -> float:
        """A false-alarm rate of 0.05, or the lowest that can be promised, rounded up."""
        return max(USUAL_RATE, math.ceil(1e4 / (len(self.normal_scores) + 1)) / 1e4)

    def p_values(self, scores: npt.ArrayLike) -> Array:
        """P-values, shape (clips,), from 1/(n + 1) to 1; low for anomalous clips.

        Raises
        ------
        UserError
            A score is not finite.
        """
        below = np.searchsorted(self.normal_scores, _as_stored(scores, "clip"), side="left")
        n = len(self.normal_scores)
        found: Array = (1 + n - below) / (n + 1)
        return found

    def threshold(self, false_alarm_rate: float, hint: str = QUANTILE_HINT) -> float:
        """The score above which, not at which, a clip is flagged; -inf where all are.

        Parameters
        ----------
        false_alarm_rate
            Share of normal clips that may be flagged.
        hint
            What else to do where that cannot be promised, with {quantile} or {rate} in it.

        Raises
        ------
        UserError
            The rate is not from 0 to 1, or lower than n clips can promise.
        """
        n = len(self.normal_scores)
        if not 0 <= false_alarm_rate <= 1:
            raise UserError(f"the false-alarm rate is {false_alarm_rate}, must be from 0 to 1")
        flagged_ranks = math.floor((false_alarm_rate + RATE_ROUNDING) * (n + 1))
        if not flagged_ranks:
            raise UserError(_too_low(false_alarm_rate, n, hint))
        return float(self.normal_scores[n - flagged_ranks]) if flagged_ranks <= n else -math.inf

    def decide(self, scores: npt.ArrayLike, false_alarm_rate: float) -> npt.NDArray[np.bool_]:
        """Whether each clip is flagged, shape (clips,); errors as those of `threshold`."""
        flagged: npt.NDArray[np.bool_] = _as_stored(scores, "clip") > self.threshold(
            false_alarm_rate
        )
        return flagged


def _as_stored(scores: npt.ArrayLike, what: str) -> Array:
    """Scores as result files hold them, known to be finite."""
    with np.errstate(over="ignore"):
        stored = np.asarray(scores, dtype=np.float64).ravel().astype(np.float32)
    if count := int((~np.isfinite(stored)).sum()):
        raise UserError(
            f"{count} of {stored.size} {what} scores are not finite; look for damaged recordings, "
            "and if all are damaged, train the model again"
        )
    return stored.astype(np.float64)


def _too_low(rate: float, n: int, hint: str) -> str:
    needed = math.ceil(1 / rate - RATE_ROUNDING) - 1 if rate > RATE_ROUNDING else None
    ways = [f"hold out {needed} or more" if needed else "hold out more"]
    if n:
        quantile = math.floor(1e4 * n / (n + 1)) / 1e4
        ways.append(hint.format(quantile=f"{quantile:g}", rate=f"{round(1 - quantile, 4):g}"))
    return (
        f"a false-alarm rate below 1/(n + 1) = {1 / (n + 1):.3g} cannot be promised from "
        f"n = {n} held-out normal clips, and {rate:.3g} is asked for; {' or '.join(ways)}"
    )


@dataclass(frozen=True)
class GammaFit:
    """A gamma distribution moved by `loc`; `loc` and `scale` are in units of the score."""

    shape: float
    loc: float
    scale: float

    def quantile(self, q: float) -> float:
        """The score that a share `q` (0 to 1) of normal scores stays below."""
        from scipy.special import gammaincinv  # scipy is slow to import, and training needs none

        return float(gammaincinv(self.shape, q) * self.scale + self.loc)


def fit_gamma(samples: npt.ArrayLike, name: str = "decision threshold") -> GammaFit:
    """Fit shape, location and scale by maximum likelihood, as the public baseline does.

    A fit hinges on the last digits of few samples, so this is scipy's, on the samples as they are.
    Where it can't succeed (a single sample, all samples equal, a fit that breaks down), a finished
    training must not be lost: the distribution then sits just above the largest sample, so that
    the threshold is that sample, and a warning is logged. Without any sample it sits at infinity,
    above every score, with a warning too.

    Parameters
    ----------
    samples : (n,)
        Anomaly scores of normal sound.
    name
        What the fit is for, in messages.

    Raises
    ------
    UserError
        A sample is not finite. Where samples are scores of clips, `refuse_non_finite` names them.
    """
    given = np.asarray(samples, dtype=np.float64).ravel()
    if not given.size:
        _log.warning(
            "%s: there is no normal score to fit it to, for want of training clips; "
            "every clip will be decided normal",
            name,
        )
        return GammaFit(shape=1.0, loc=math.inf, scale=1.0)
    count = int((~np.isfinite(given)).sum())
    if count == given.size:
        raise UserError(
            f"{name}: none of the {given.size} normal scores is a finite number; "
            "the model holds NaN or infinity, so train it again"
        )
    if count:
        raise UserError(
            f"{name}: {count} of {given.size} normal scores are not finite; "
            "leave out the recordings they come from, or mend them"
        )
    fit = _maximum_likelihood(given) if given.min() < given.max() else None
    return fit or _above_largest(given, name)


def check_gamma(
    fit: GammaFit, normal_scores: npt.ArrayLike, quantile: float, name: str
) -> str | None:
    """Compare a gamma threshold with the empirical quantile of the scores it was fitted to.

    The fit breaks down on scores of other shapes, without an error: it has put a threshold at
    0.685 to scores of at most 0.003, so that nothing was ever flagged. It is found wanting where
    it flags, or passes, less than a third or more than three times as many of the normal scores
    as it should, and a good threshold would do so with a probability below 1 in 1,000 (binomial;
    of 10 scores 1 should lie above the 0.9 quantile, and none does with probability 0.35); or
    where it lies above all of 10 scores or more by more than their range. Of 2,000 fits to 10 to
    1,000 samples of gamma distributions of shape 0.5 to 50 it found 7 wanting, at quantile 0.9;
    all seven had failed, such as one that flagged 6 of 10.

    Parameters
    ----------
    fit
        What `fit_gamma` gave.
    normal_scores
        Shape (n,): the scores it was fitted to.
    quantile
        Share of normal scores that should stay at or below the threshold, 0.9.
    name
        What the threshold is for, in the message.

    Returns
    -------
    The warning, which has also been logged, or None.
    """
    scores = np.asarray(normal_scores, dtype=np.float64).ravel()
    if not scores.size:
        return None
    threshold = fit.quantile(quantile)
    empirical = float(np.quantile(scores, quantile, method="higher"))
    flagged = int((scores > threshold).sum())
    is_off = flagged != int((scores > empirical).sum()) and _is_off(flagged, scores.size, quantile)
    if not (is_off or _is_far_above(threshold, scores)):
        return None
    warning = (
        f"{name}: the gamma threshold {threshold:.4g} flags {flagged} of {scores.size} normal "
        f"scores where {(1 - quantile) * scores.size:.4g} are wanted, their {quantile:g} quantile "
        f"is {empirical:.4g}; do not trust these decisions, scores and AUC are not affected"
    )
    _log.warning("%s", warning)
    return warning


def _is_off(flagged: int, n: int, quantile: float) -> bool:
    """Whether a number of flagged scores is far from n · (1 - quantile), and not by chance."""
    from scipy.stats import binom

    shares = ((flagged / n, 1 - quantile), (1 - flagged / n, quantile))
    if all(wanted / FACTOR <= share <= wanted * FACTOR for share, wanted in shares):
        return False
    tail = min(binom.cdf(flagged, n, 1 - quantile), binom.sf(flagged - 1, n, 1 - quantile))
    return bool(tail < CHANCE)


def _is_far_above(threshold: float, scores: Array) -> bool:
    spread = float(np.ptp(scores))
    return scores.size >= 10 and 0 < spread < threshold - float(scores.max())


def flagged_share_note(
    decisions: npt.ArrayLike, what: str, threshold_fit: str = "batch"
) -> str | None:
    """What to say where more than half of the test clips are flagged, or None.

    Parameters
    ----------
    decisions
        Shape (clips,): 1 or True for a clip that is decided anomalous.
    what
        Whose clips and which score, "fan MSE".
    threshold_fit
        What the threshold was fitted to. "batch" is the public baseline's: means over batches of
        frames of many clips, which vary less than scores of single clips, so that nearly every
        clip can lie above their 0.9 quantile.
    """
    decided = np.asarray(decisions).astype(bool).ravel()
    flagged = int(decided.sum())
    if 2 * flagged <= decided.size:
        return None
    if threshold_fit == "batch":
        hint = (
            "the threshold comes from means over batches, as in the public baseline; "
            "--threshold_fit clip takes it from scores of clips"
        )
    else:
        hint = "unless most are anomalous, raise --decision_threshold or look for a change of sound"
    return f"{what}: {flagged} of {decided.size} test clips are decided anomalous; {hint}"


def refuse_non_finite(values: npt.ArrayLike, clips: Sequence[Clip], what: str) -> None:
    """Refuse scores, or features, of clips that are not finite, by naming the first such clip.

    Parameters
    ----------
    values
        Shape (clips, ...). Values beyond float32, as which scores are written, count as infinite.
    clips
        Of the same order.
    what
        What the values are, "MSE score".

    Raises
    ------
    UserError
        Names the clip, the value and how many clips are concerned.
    """
    array = np.asarray(values)
    if len(array) != len(clips):
        raise ValueError(f"{len(array)} values for {len(clips)} clips")
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32, copy=False))
    broken = np.flatnonzero(~finite.all(axis=tuple(range(1, finite.ndim))))
    if not len(broken):
        return
    value = array[broken[0]].ravel()[finite[broken[0]].argmin()]
    if len(broken) == len(clips) > 1:
        hint = f"none of {len(clips)} clips has a finite one, so train the model again"
    else:
        others = f", {len(broken) - 1} more of {len(clips)} clips too" if len(broken) > 1 else ""
        hint = f"mend the recording or leave it out{others}"
    path = clips[broken[0]].path
    raise UserError(f"{path}: its {what} is {value:g}, which is not finite; {hint}")


def _maximum_likelihood(samples: npt.NDArray[np.float64]) -> GammaFit | None:
    """Scipy's fit, or None where it breaks down."""
    from scipy.stats import gamma

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            shape, loc, scale = map(float, gamma.fit(samples))
    except (RuntimeError, ValueError):  # scipy's FitError and FitDataError
        return None
    fit = GammaFit(shape, loc, scale)
    return fit if math.isfinite(fit.quantile(0.5)) else None


def _above_largest(samples: npt.NDArray[np.float64], name: str) -> GammaFit:
    largest = float(samples.max())
    _log.warning(
        "%s: no gamma distribution fits the normal scores (%d of them, %g to %g); "
        "the largest one becomes the threshold",
        name,
        samples.size,
        samples.min(),
        largest,
    )
    return GammaFit(shape=1.0, loc=largest, scale=max(abs(largest), 1e-300) * 1e-9)
