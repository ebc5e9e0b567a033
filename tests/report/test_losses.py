import subprocess
import sys

import pytest

from asd.report.losses import loss_curve
from asd.report.page import save_figure

NAN = float("nan")


def test_loss_curve_shows_each_column_over_its_epochs():
    log = {"epoch": [1, 2, 3], "loss": [9.0, 6.0, 5.0], "recon_loss_source": [NAN, NAN, 4.0]}
    (axes,) = loss_curve({**log, "empty": [NAN] * 3}, "fan").axes
    assert {line.get_label(): line.get_xydata().tolist() for line in axes.lines} == {
        "loss": [[1.0, 9.0], [2.0, 6.0], [3.0, 5.0]],
        "recon_loss_source": [[3.0, 4.0]],
    }
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    assert axes.get_yscale() == "linear"


def test_losses_that_fall_by_decades_are_on_a_log_axis():
    (axes,) = loss_curve({"loss": [5000.0, 30.0, 8.0]}).axes
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize("log", [{}, {"loss": []}, {"loss": [NAN]}, {"loss": [3.0]}])
def test_loss_curve_of_little_or_nothing(log, tmp_path):
    save_figure(loss_curve(log), tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_lines_of_many_columns_differ_in_colour_or_marker():
    (axes,) = loss_curve({f"loss {i}": [2.0, 1.0] for i in range(12)}).axes
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 12


def test_a_training_does_not_wait_for_seaborn():
    code = "import sys, asd.report.losses; print('seaborn' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
