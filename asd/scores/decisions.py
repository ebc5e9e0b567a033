"""Which rule decides on the clips of a machine type; the rules are in `asd.scores.threshold`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asd.errors import UserError
from asd.scores.table import ScoreTable
from asd.scores.threshold import ConformalRule, GammaFit, check_gamma, fit_gamma

Gammas = dict[str, dict[str, dict[str, list[float]]]]
"""Machine type -> kind of samples -> score -> shape, location and scale of the fitted gamma."""

GammaSamples = Mapping[str, Mapping[str, Mapping[str, NDArray[np.float64]]]]
"""Machine type -> kind of samples -> score -> what a gamma is fitted to, shape (samples,)."""


def fit_gammas(samples: GammaSamples) -> Gammas:
    """Fit a gamma distribution to the samples of every machine type, kind and score.

    Raises
    ------
    UserError
        There is no distribution of some samples.
    """
    return {
        machine: {
            kind: {
                score: _as_list(fit_gamma(values, f"{machine} {score}: decision threshold"))
                for score, values in scores.items()
            }
            for kind, scores in kinds.items()
        }
        for machine, kinds in samples.items()
    }


@dataclass(frozen=True)
class DecisionRules:
    """A rule for each machine type.

    That of its gamma distributions where it has some, else the conformal one of its normal scores.

    Parameters
    ----------
    normal
        Machine type -> scores of normal clips.
    gammas
        Fitted distributions, which the official autoencoder decides by.
    samples
        What they were fitted to, as far as that is known.
    gamma_kind
        The kind of samples whose gamma decides; "" for the first.
    """

    normal: Mapping[str, ScoreTable]
    gammas: Gammas = field(default_factory=dict)
    samples: GammaSamples = field(default_factory=dict)
    gamma_kind: str = ""

    def p_values(self, scores: ScoreTable, score: str) -> NDArray[np.float64]:
        """Conformal p-values, shape (clips,): low for clips unlike the normal ones.

        Raises
        ------
        UserError
            There are no normal scores of such a machine type.
        """
        found = np.empty(len(scores))
        for machine, members in _members(scores).items():
            rule = ConformalRule(self._normal_scores(machine, score))
            found[members] = rule.p_values(scores[score][members])
        return found

    def decide(self, scores: ScoreTable, score: str, quantile: float) -> NDArray[np.int_]:
        """1 for the clips above the threshold of their machine type, 0 for the others, (clips,).

        Raises
        ------
        UserError
            As for `threshold`.
        """
        machines = dict.fromkeys(clip.machine for clip in scores.clips)
        above = {machine: self.threshold(machine, score, quantile) for machine in machines}
        limits = np.array([above[clip.machine] for clip in scores.clips])
        # Rounded, so that the files of the scores give the same decisions.
        return (scores.rounded()[score] > limits).astype(int)

    def threshold(self, machine: str, score: str, quantile: float) -> float:
        """The score above which a clip of a machine type is anomalous.

        Parameters
        ----------
        quantile
            Of normal scores: 1 less the wanted rate of false alarms.

        Raises
        ------
        UserError
            There are too few normal scores for such a decision, or none of this machine type, or no
            gamma of this kind and score.
        """
        if machine in self.gammas:
            return self._gamma_threshold(machine, score, quantile)
        values = self._normal_scores(machine, score)
        try:
            return ConformalRule(values).threshold(1 - quantile)
        except UserError as error:
            raise UserError(
                f"{machine} {score}: {error}, or set --decision_threshold none for scores alone"
            ) from None

    def _normal_scores(self, machine: str, score: str) -> NDArray[np.float64]:
        if machine not in self.normal:
            known = ", ".join(self.normal) or "none"
            raise UserError(
                f"{machine} {score}: the model has normal scores to decide by only of: {known}; "
                "decide on clips of such a machine type only, or set --decision_threshold none"
            )
        return self.normal[machine][score]

    def _gamma_threshold(self, machine: str, score: str, quantile: float) -> float:
        kinds = self.gammas[machine]
        asked = self.gamma_kind
        kind = asked if asked in kinds else next(iter(kinds))
        if (asked and asked not in kinds) or score not in kinds[kind]:
            raise UserError(
                f"{machine}: the model has no {asked or kind} distribution of {score} scores to "
                "decide by (it was imported); train the model here, or set --threshold_fit batch "
                "and --score MSE or MAHALA"
            )
        fit = GammaFit(*kinds[kind][score])
        samples = self.samples.get(machine, {}).get(kind, {})
        if score in samples:
            check_gamma(fit, samples[score], quantile, f"{machine} {score}")
        return fit.quantile(quantile)


def _members(scores: ScoreTable) -> dict[str, list[int]]:
    """Machine type -> indices of its clips."""
    members: dict[str, list[int]] = {}
    for index, clip in enumerate(scores.clips):
        members.setdefault(clip.machine, []).append(index)
    return members


def _as_list(fit: GammaFit) -> list[float]:
    return [fit.shape, fit.loc, fit.scale]
