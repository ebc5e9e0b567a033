"""Pictures of evaluated submissions: what is in them, and that they are drawn at any number."""

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from asd.report.evaluation import metrics_plot, ranking_plot
from asd.report.page import save_figure
from asd.submission.evaluator import SectionEvaluation, SystemEvaluation
from asd.submission.evaluator_files import official_score_of

MACHINES = ("bandsaw", "grinder", "ToyTank")


def system(name, level, ci95=1e-4, clips=101):
    sections = []
    for i, machine in enumerate(MACHINES):
        values = {"AUC (source)": level + 0.05 * i, "AUC (target)": level, "pAUC": level - 0.1}
        sections.append(SectionEvaluation(machine, "00", values, {}, {}))
    return SystemEvaluation(name, tuple(sections), ci95, clips)


SYSTEMS = [system("poor", 0.5), system("good", 0.8), system("middling", 0.6)]


def test_ranking_has_the_best_on_top_with_its_interval():
    (axes,) = ranking_plot(SYSTEMS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["good", "middling", "poor"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top
    (bars,) = (c for c in axes.containers if isinstance(c, ErrorbarContainer))
    score = 100 * official_score_of(SYSTEMS[1])
    np.testing.assert_allclose(bars[0].get_xdata()[0], score)
    (lines,) = bars[2]
    np.testing.assert_allclose(lines.get_segments()[0][:, 0], [score - 1, score + 1])
    assert axes.texts[0].get_text() == f"{score:.2f}"
    assert axes.get_xlabel().startswith("official score [%]")
    low, high = axes.get_xlim()
    assert low < bars[0].get_xdata().min() - 1
    assert high > bars[0].get_xdata().max() + 1


def test_metrics_of_each_machine_type_on_one_scale():
    figure = metrics_plot(SYSTEMS)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["AUC (source) [%]", "AUC (target) [%]", "pAUC [%]"]
    numbers = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert numbers[0][:3] == ["80.0", "85.0", "90.0"]  # the best system's row comes first
    assert numbers[2][-3:] == ["40.0", "40.0", "40.0"]
    for axes in figure.axes:
        assert axes.collections[0].get_clim() == pytest.approx((40.0, 90.0))


def test_dark_cells_have_white_numbers():
    (axes, *_) = metrics_plot(SYSTEMS).axes
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours["90.0"] == "white"
    assert colours["50.0"] == "black"


@pytest.mark.parametrize("count", [1, 12])
def test_any_number_of_systems(tmp_path, count):
    systems = [system(f"team{i}_institute_task2_1", 0.5 + i / 100) for i in range(count)]
    save_figure(ranking_plot(systems, "title"), tmp_path / "ranking.png")
    save_figure(metrics_plot(systems, "title"), tmp_path / "metrics.png")
    assert all((tmp_path / f"{n}.png").stat().st_size > 5000 for n in ("ranking", "metrics"))


def test_without_an_interval(tmp_path):
    figure = ranking_plot([system("alone", 0.7, ci95=float("nan"))])
    save_figure(figure, tmp_path / "ranking.png")
    assert (tmp_path / "ranking.png").is_file()
