"""The decision threshold: a quantile of a gamma distribution fitted to normal scores."""

import logging
import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asd.errors import UserError

_log = logging.getLogger(__name__)


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
    above every score, with a warning too. Samples that are not finite are left out with a warning.

    Parameters
    ----------
    samples : (n,)
        Anomaly scores of normal sound.
    name
        What the fit is for, in messages.

    Raises
    ------
    UserError
        There are samples, but none is finite: the model is of no use.
    """
    given = np.asarray(samples, dtype=np.float64).ravel()
    if not given.size:
        _log.warning(
            "%s: there is no normal score to fit it to, for want of training clips; "
            "every clip will be decided normal",
            name,
        )
        return GammaFit(shape=1.0, loc=math.inf, scale=1.0)
    finite = given[np.isfinite(given)]
    if not finite.size:
        raise UserError(
            f"{name}: none of the {given.size} normal scores is a finite number; "
            "the training diverged, so train again with a lower learning rate"
        )
    if finite.size < given.size:
        _log.warning(
            "%s: %d of %d normal scores are not finite and left out",
            name,
            given.size - finite.size,
            given.size,
        )
    fit = _maximum_likelihood(finite) if finite.min() < finite.max() else None
    return fit or _above_largest(finite, name)


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


class ConformalRule:
    def __init__(self, v):
        self.v = np.sort(np.asarray(v, dtype=float))

    def threshold(self, rate):
        n = len(self.v)
        k = int(np.floor(rate * (n + 1) + 1e-9))
        if k < 1:
            raise UserError(
                f"a false-alarm rate of {rate:g} cannot be promised from {n} held-out normal clips"
            )
        return float(self.v[n - k])


def check_gamma(fit, values, q, name):
    pass


def flagged_share_note(d):
    return "x" if np.mean(d) > 0.5 else ""
