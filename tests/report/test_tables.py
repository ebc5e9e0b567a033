import numpy as np
import pytest

from asd.report.tables import (
    draw_heat_map,
    draw_summary_plot,
    heat_map,
    shade_limits,
    summary_plot,
)

NAN = float("nan")
VALUES = {
    "baseline_MSE": {
        "fan": {"AUC (source)": 0.9, "AUC (target)": 0.6, "pAUC": 0.55},
        "ToyCar": {"AUC (source)": 0.8, "AUC (target)": 0.3},
    },
    "baseline_MAHALA": {"fan": {"AUC (source)": 0.95, "AUC (target)": NAN, "pAUC": 0.6}},
}


def marks(axes, system):
    (line,) = [line for line in axes.lines if line.get_label() == system]
    return line


def test_summary_plot_puts_each_value_in_its_panel_and_row():
    figure = draw_summary_plot(VALUES, "DCASE2023T2")
    source, target, partial = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["AUC (source)", "AUC (target)", "pAUC"]
    assert [label.get_text() for label in source.get_yticklabels()] == ["fan", "ToyCar"]
    assert marks(source, "baseline_MSE").get_xdata() == pytest.approx([0.9, 0.8])
    assert list(marks(source, "baseline_MSE").get_ydata()) == [0, 1]
    assert marks(source, "baseline_MAHALA").get_xdata() == pytest.approx([0.95, NAN], nan_ok=True)
    assert marks(target, "baseline_MAHALA").get_xdata() == pytest.approx([NAN, NAN], nan_ok=True)
    assert marks(partial, "baseline_MSE").get_xdata() == pytest.approx([0.55, NAN], nan_ok=True)


def test_systems_differ_without_colour_and_chance_is_marked():
    axes = draw_summary_plot(VALUES).axes[0]
    styles = {
        (line.get_marker(), line.get_fillstyle())
        for line in axes.lines
        if line.get_label() in VALUES
    }
    assert len(styles) == 2
    assert list(marks(axes, "chance").get_xdata()) == [0.5, 0.5]


def test_the_lowest_value_is_within_the_axis():
    low, high = draw_summary_plot(VALUES).axes[0].get_xlim()
    assert low < 0.3
    assert high > 1.0


def test_marks_at_both_ends_are_whole():
    metrics = {"AUC (source)": 0.0, "AUC (target)": 1.0}
    figure = draw_summary_plot({"a": {"fan": metrics}}, metrics=tuple(metrics))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    ends = axes.transData.transform([(0, 0), (1, 0)])[:, 0]
    radius = marks(axes, "a").get_markersize() / 2 / 72 * figure.dpi
    assert ends[0] - axes.bbox.x0 > radius
    assert axes.bbox.x1 - ends[1] > radius


def test_systems_without_a_value_are_not_in_the_legend():
    lacking = {"untested": {"fan": {}}, "undefined": {"fan": {"pAUC": NAN}}, "none": {}}
    figure = draw_summary_plot({"untested": lacking["untested"], **VALUES, **lacking})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["chance", *VALUES]


@pytest.mark.parametrize("values", [{}, {"baseline_MSE": {}}, {"a": {"fan": {"pAUC": NAN}}}])
def test_summary_of_nothing(values, tmp_path):
    summary_plot(values, tmp_path / "summary.png")
    assert (tmp_path / "summary.png").is_file()


def test_heat_map_writes_mean_and_deviation(tmp_path):
    mean = np.array([[0.9, 0.5, NAN], [0.61, 0.7, 0.8]])
    std = np.array([[0.01, NAN, NAN], [0.002, 0.03, 0.0]])
    systems, machines = ["MSE", "MAHALA"], ["fan", "ToyCar", "a" * 20 + "z" * 20]
    figure = draw_heat_map(mean, systems, machines, "2023", std=std)
    axes, bar = figure.axes
    assert [text.get_text() for text in axes.texts] == [
        "90.00\n± 1.00", "50.00", "-", "61.00\n± 0.20", "70.00\n± 3.00", "80.00\n± 0.00",
    ]  # fmt: skip
    assert [text.get_color() for text in axes.texts[:3]] == ["white", "black", "black"]
    assert [label.get_text() for label in axes.get_yticklabels()] == systems
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["fan", "ToyCar", "a" * 11 + "…" + "z" * 12]
    assert bar.get_ylabel() == "official score [%]"
    assert bar.get_ylim() == pytest.approx((50.0, 90.0))
    heat_map(mean, systems, machines, tmp_path / "heat.png", std=std)
    assert (tmp_path / "heat.png").is_file()


@pytest.mark.parametrize("mean", [[[NAN]], [[0.5]]])
def test_heat_map_of_one_cell(mean, tmp_path):
    heat_map(mean, ["MSE"], ["fan"], tmp_path / "heat.png")
    assert (tmp_path / "heat.png").is_file()


def test_shades_of_nothing_have_limits():
    assert shade_limits(np.array([[NAN, 0.2], [0.7, np.inf]])) == (0.2, 0.7)
    assert shade_limits(np.full((1, 2), NAN)) == (0.0, 1.0)
