"""Gamma fits: the public baseline's stored ones, and samples that no gamma fits."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import gamma

from asd.errors import UserError
from asd.scores.threshold import GammaFit, fit_gamma

OFFICIAL = Path(__file__).parents[1] / "data" / "evaluation" / "official"
CASES = sorted(path.name for path in OFFICIAL.iterdir())


@pytest.mark.parametrize("case", CASES)
def test_official_fits(case):
    expected = json.loads((OFFICIAL / case / "expected" / "gamma.json").read_text())
    inputs = json.loads((OFFICIAL / case / "expected" / "gamma_fit_inputs.json").read_text())
    for model, scores in expected.items():
        for score, numbers in scores.items():
            fit = fit_gamma(inputs[model][score])
            # Identical with the scipy that made them (1.17.1); a fit to so few samples hinges on
            # rounding, so other versions only need to agree on the threshold.
            threshold = pytest.approx(numbers["threshold_q0.9"], rel=2e-3)
            assert fit.quantile(0.9) == threshold, (model, score)


@pytest.mark.parametrize("case", CASES)
def test_official_quantiles(case):
    expected = json.loads((OFFICIAL / case / "expected" / "gamma.json").read_text())
    for scores in expected.values():
        for numbers in scores.values():
            fit = GammaFit(numbers["shape"], numbers["loc"], numbers["scale"])
            assert fit.quantile(0.9) == pytest.approx(numbers["threshold_q0.9"], rel=1e-12)


def test_quantile_is_scipys():
    fit = GammaFit(shape=2.5, loc=10, scale=3)
    for q in (0.01, 0.5, 0.9, 0.999):
        assert fit.quantile(q) == pytest.approx(gamma.ppf(q, 2.5, 10, 3), rel=1e-14)


@pytest.mark.parametrize(
    "samples", [[7.0], [3.0, 3.0, 3.0], [0, 0], [-2.0, -2.0], [1e-300, 2e-300], [1e300, 3e300]]
)
def test_samples_that_no_gamma_fits_give_the_largest(samples, caplog):
    with caplog.at_level(logging.WARNING):
        fit = fit_gamma(samples, "fan MSE")
    assert fit.quantile(0.9) == pytest.approx(max(samples), rel=1e-7, abs=1e-300)
    assert fit.quantile(0.9) >= max(samples)
    assert "fan MSE: no gamma distribution fits" in caplog.text
    assert "the largest one becomes the threshold" in caplog.text


def test_samples_that_are_not_finite_are_left_out(caplog):
    samples = np.random.default_rng(1).gamma(2, 3, size=50)
    fit = fit_gamma([*samples[:25], math.nan, math.inf, *samples[25:]])
    assert fit == fit_gamma(samples)
    assert "2 of 52 normal scores are not finite" in caplog.text


def test_no_finite_sample_is_refused():
    with pytest.raises(UserError, match="none of the 2 normal scores is a finite number; the trai"):
        fit_gamma([math.nan, math.inf])


def test_without_any_sample_no_score_is_above_the_threshold(caplog):
    fit = fit_gamma([])
    assert [fit.quantile(q) for q in (0.01, 0.9)] == [math.inf, math.inf]
    assert "there is no normal score to fit it to" in caplog.text
