"""Learning rates that start anew, against the published program's."""

from pathlib import Path

import numpy as np
import pytest

from asd.systems.embedding.restarts import RestartRecipe

GOLDEN = np.load(Path(__file__).parents[2] / "data" / "khoaphamanh" / "learning_rates.npz")


@pytest.mark.parametrize("form", ["linear", "cosine"])
def test_epochs_have_the_published_rates(form):
    highest, period, last = GOLDEN[f"{form}_restarts_config"]
    restarts = RestartRecipe(form, int(period), float(last))
    found = [restarts.rate(7 * epoch, epoch, float(highest)) for epoch in range(20)]
    np.testing.assert_allclose(found, GOLDEN[f"{form}_restarts"], rtol=1e-12)


@pytest.mark.parametrize(("counted_in", "expected"), [("steps", 0.75), ("steps_and_epochs", 0.25)])
def test_steps_can_be_counted(counted_in, expected):
    restarts = RestartRecipe("linear", 4, counted_in=counted_in)
    assert restarts.rate(7, 2, 1.0) == expected
