import numpy as np
import pytest

from asd.report.page import save_figure
from asd.report.tables import heat_map, shade_limits, summary_plot

NAN = float("nan")
VALUES = {
    "baseline_MSE": {
        "fan": {"AUC (source)": 0.9, "AUC (target)": 0.6, "pAUC": 0.55},
        "ToyCar": {"AUC (source)": 0.8, "AUC (target)": 0.3},
    },
    "baseline_MAHALA": {"fan": {"AUC (source)": 0.95, "AUC (target)": NAN, "pAUC": 0.6}},
}


def marks(axes, system):
    """Machine type -> value of a system's marks, by the row next to each."""
    (line,) = [line for line in axes.lines if line.get_label() == system]
    machines = [text.get_text() for text in axes.figure.axes[0].get_yticklabels()]
    points = line.get_xydata()
    return {machines[round(y)]: x for x, y in points[np.isfinite(points[:, 0])]}


def test_summary_plot_puts_each_value_in_its_panel_and_row():
    figure = summary_plot(VALUES, "DCASE2023T2")
    source, target, partial = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["AUC (source)", "AUC (target)", "pAUC"]
    assert [label.get_text() for label in source.get_yticklabels()] == ["fan", "ToyCar"]
    assert marks(source, "baseline_MSE") == {"fan": 0.9, "ToyCar": 0.8}
    assert marks(source, "baseline_MAHALA") == {"fan": 0.95}
    assert marks(target, "baseline_MSE") == {"fan": 0.6, "ToyCar": 0.3}
    assert marks(target, "baseline_MAHALA") == {}
    assert marks(partial, "baseline_MSE") == {"fan": 0.55}


def test_systems_differ_without_colour_and_chance_is_marked():
    axes = summary_plot(VALUES).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert len({lines[system].get_marker() for system in VALUES}) == 2
    assert list(lines["chance"].get_xdata()) == [0.5, 0.5]


def test_marks_of_equal_values_do_not_hide_each_other():
    values = {f"s{i}": {"fan": {"pAUC": 0.7}, "valve": {"pAUC": 0.7}} for i in range(9)}
    figure = summary_plot(values, metrics=["pAUC"])
    figure.draw_without_rendering()
    axes = figure.axes[0]
    lines = [line for line in axes.lines if line.get_label() in values]
    points = np.concatenate([axes.transData.transform(line.get_xydata()) for line in lines])
    heights = np.sort(points[:, 1])
    assert len(heights) == 18
    assert np.diff(heights).min() > lines[0].get_markersize() / 72 * figure.dpi / 2


def test_the_lowest_value_is_within_the_axis():
    low, high = summary_plot(VALUES).axes[0].get_xlim()
    assert low < 0.3
    assert high > 1.0


def test_marks_at_both_ends_are_whole():
    metrics = {"AUC (source)": 0.0, "AUC (target)": 1.0}
    figure = summary_plot({"a": {"fan": metrics}}, metrics=tuple(metrics))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    ends = axes.transData.transform([(0, 0), (1, 0)])[:, 0]
    (line,) = [line for line in axes.lines if line.get_label() == "a"]
    radius = line.get_markersize() / 2 / 72 * figure.dpi
    assert ends[0] - axes.bbox.x0 > radius
    assert axes.bbox.x1 - ends[1] > radius


def test_systems_without_a_value_are_not_in_the_legend():
    lacking = {"untested": {"fan": {}}, "undefined": {"fan": {"pAUC": NAN}}, "none": {}}
    figure = summary_plot({"untested": lacking["untested"], **VALUES, **lacking})
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["chance", *VALUES]


@pytest.mark.parametrize("values", [{}, {"baseline_MSE": {}}, {"a": {"fan": {"pAUC": NAN}}}])
def test_summary_of_nothing(values, tmp_path):
    save_figure(summary_plot(values), tmp_path / "summary.png")
    assert (tmp_path / "summary.png").is_file()


def test_heat_map_writes_mean_and_deviation(tmp_path):
    mean = np.array([[0.9, 0.5, NAN], [0.61, 0.7, 0.8]])
    std = np.array([[0.01, NAN, NAN], [0.002, 0.03, 0.0]])
    systems, machines = ["MSE", "MAHALA"], ["fan", "ToyCar", "a" * 20 + "z" * 20]
    figure = heat_map(mean, systems, machines, "2023", std=std)
    axes, bar = figure.axes
    cells = {text.get_position(): text for text in axes.texts}
    places = [(column + 0.5, row + 0.5) for row in range(2) for column in range(3)]
    assert [cells[place].get_text() for place in places] == [
        "90.00\n± 1.00", "50.00", "-", "61.00\n± 0.20", "70.00\n± 3.00", "80.00\n± 0.00",
    ]  # fmt: skip
    assert [cells[place].get_color() for place in places[:3]] == ["white", "black", "black"]
    assert axes.get_ylim() == (2, 0)  # the first row is on top
    assert [label.get_text() for label in axes.get_yticklabels()] == systems
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["fan", "ToyCar", "a" * 11 + "…" + "z" * 12]
    assert bar.get_ylabel() == "official score [%]"
    assert bar.get_ylim() == pytest.approx((50.0, 90.0))
    save_figure(figure, tmp_path / "heat.png")
    assert (tmp_path / "heat.png").is_file()


@pytest.mark.parametrize("mean", [[[NAN]], [[0.5]]])
def test_heat_map_of_one_cell(mean, tmp_path):
    save_figure(heat_map(mean, ["MSE"], ["fan"]), tmp_path / "heat.png")
    assert (tmp_path / "heat.png").is_file()


def test_shades_of_nothing_have_limits():
    assert shade_limits(np.array([[NAN, 0.2], [0.7, np.inf]])) == (0.2, 0.7)
    assert shade_limits(np.full((1, 2), NAN)) == (0.0, 1.0)
