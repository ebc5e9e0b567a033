"""Which rule decides on the clips of a machine type."""

from pathlib import Path

import numpy as np
import pytest

from asd.clips import Clip
from asd.errors import UserError
from asd.scores.decisions import DecisionRules, fit_gammas
from asd.scores.table import ScoreTable
from asd.scores.threshold import GammaFit


def table(machines, scores):
    """A table of clips and their score "MSE"."""
    clips = [Clip(Path(f"{i}.wav"), machine) for i, machine in enumerate(machines)]
    return ScoreTable(tuple(clips), {"MSE": scores})


NORMAL = {
    "fan": table(["fan"] * 10, np.arange(10.0)),
    "valve": table(["valve"] * 10, 10 * np.arange(10.0)),
}
GAMMAS = {"fan": {"batch": {"MSE": [2.0, 0.0, 1.0]}, "clip": {"MSE": [5.0, 1.0, 2.0]}}}


def test_every_machine_type_is_decided_by_its_own_normal_scores():
    rules = DecisionRules(NORMAL)
    assert rules.threshold("fan", "MSE", 0.9) == 9
    assert rules.threshold("valve", "MSE", 0.8) == 80
    new = table(["valve", "fan", "fan", "valve"], [85, 9, 9.5, 95])
    assert rules.decide(new, "MSE", 0.8).tolist() == [1, 1, 1, 1]
    assert rules.decide(new, "MSE", 0.9).tolist() == [0, 0, 1, 1]
    # (1 + normal scores as high) / (1 + normal scores)
    np.testing.assert_allclose(rules.p_values(new, "MSE"), np.array([2, 2, 1, 1]) / 11)


def test_a_clip_at_the_threshold_is_normal_also_once_rounded():
    rules = DecisionRules({"fan": table(["fan"], [np.pi])})
    limit = rules.threshold("fan", "MSE", 0.5)
    above = np.nextafter(np.float32(limit), np.float32(np.inf))
    new = table(["fan"] * 3, [limit, limit + 1e-9, above])
    assert rules.decide(new, "MSE", 0.5).tolist() == [0, 0, 1]


def test_a_machine_type_with_gammas_is_decided_by_those_of_the_kind_asked_for():
    first, clip = GammaFit(2.0, 0.0, 1.0), GammaFit(5.0, 1.0, 2.0)
    assert DecisionRules(NORMAL, GAMMAS).threshold("fan", "MSE", 0.9) == first.quantile(0.9)
    by_clip = DecisionRules(NORMAL, GAMMAS, gamma_kind="clip")
    assert by_clip.threshold("fan", "MSE", 0.9) == clip.quantile(0.9) != first.quantile(0.9)
    assert by_clip.threshold("valve", "MSE", 0.9) == 90


def test_a_gamma_that_does_not_fit_what_it_was_fitted_to_is_told(caplog):
    far = {"fan": {"batch": {"MSE": 100 + np.arange(200.0)}}}
    DecisionRules(NORMAL, GAMMAS).threshold("fan", "MSE", 0.9)
    assert not caplog.messages
    DecisionRules(NORMAL, GAMMAS, far).threshold("fan", "MSE", 0.9)
    assert "fan MSE" in caplog.text


def test_gammas_are_fitted_to_every_kind_and_score():
    rng = np.random.default_rng(0)
    samples = {"fan": {"batch": {"MSE": rng.gamma(3, 2, 5000), "MAHALA": rng.gamma(9, 1, 5000)}}}
    gammas = fit_gammas(samples)["fan"]["batch"]
    for score, true in (("MSE", (3, 2)), ("MAHALA", (9, 1))):
        shape, loc, scale = gammas[score]
        assert shape * scale + loc == pytest.approx(true[0] * true[1], rel=0.02)  # the mean
        assert shape * scale**2 == pytest.approx(true[0] * true[1] ** 2, rel=0.1)  # the variance


@pytest.mark.parametrize(
    ("rules", "machine", "quantile", "message"),
    [
        (DecisionRules(NORMAL), "fan", 0.95, r"^fan MSE: .*cannot be promised.*_threshold none"),
        (DecisionRules(NORMAL), "slider", 0.9, r"slider MSE: .* only of: fan, valve;"),
        (DecisionRules({}), "fan", 0.9, r"only of: none;"),
        (
            DecisionRules({}, {"fan": {"batch": {"MAHALA": [1.0, 0.0, 1.0]}}}),
            "fan", 0.9, r"^fan: the model has no batch distribution of MSE scores",
        ),
        (
            DecisionRules({}, {"fan": {"batch": {"MSE": [1.0, 0.0, 1.0]}}}, gamma_kind="clip"),
            "fan", 0.9, r"^fan: the model has no clip distribution of MSE .*--threshold_fit batch",
        ),
    ],
)  # fmt: skip
def test_decisions_that_cannot_be_made(rules, machine, quantile, message):
    with pytest.raises(UserError, match=message):
        rules.threshold(machine, "MSE", quantile)
