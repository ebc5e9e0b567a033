from itertools import pairwise

import numpy as np
import pytest

from asd.evaluation.results import SectionScores, section_metrics
from asd.report.figures import ScoreGroup, roc_plot, score_plot
from asd.report.page import save_figure

NAN = float("nan")


def group(domain, normal, anomalous, section="00"):
    truth = np.repeat([False, True], [len(normal), len(anomalous)])
    return ScoreGroup(section, domain, truth, np.array([*normal, *anomalous], dtype=float))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legend(figure):
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def tick_names(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def curves(axes):
    """Name in the legend -> the line that was drawn for it."""
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    drawn = [line for line in axes.lines if line.get_label().startswith("_child")]
    return dict(zip(names, drawn[-len(names) :], strict=True))


def strips(axes):
    """The heights of the clips of each box, from left to right."""
    dots = [points.get_offsets() for points in axes.collections if len(points.get_offsets())]
    dots.sort(key=lambda offsets: offsets[:, 0].mean())
    return [offsets[:, 1].tolist() for offsets in dots]


# --- Scores ---


def test_score_plot_shows_all_clips_and_the_auc_against_all_anomalies():
    groups = [group("source", [1, 2, 3], [4, 2.5]), group("target", [3.5, 5], [6])]
    (axes,) = score_plot(groups, "fan", 2.2).axes
    assert strips(axes) == [[1, 2, 3], [4, 2.5], [3.5, 5], [6]]
    # Pairs won: source normals against 4, 2.5, 6: 3 + 2 + 3 of 9; target: 1 + 0 + 2 of 6.
    assert texts(axes) == ["AUC\n0.889", "AUC\n0.500"]
    assert tick_names(axes) == ["source\nsection 00", "target"]
    assert axes.get_ylabel() == "anomaly score"


def test_sections_do_not_share_anomalies():
    groups = [group("source", [1, 2], [3]), group("source", [5, 6], [4], section="01")]
    (axes,) = score_plot(groups).axes
    assert texts(axes) == ["AUC\n1.000", "AUC\n0.000"]
    assert tick_names(axes) == ["source\nsection 00", "source\nsection 01"]


def test_threshold_is_drawn_at_its_height():
    groups = [group("source", [1], [2]), group("source", [1], [2], section="01")]
    figure = score_plot(groups, threshold=1.5)
    (axes,) = figure.axes
    (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed.get_xydata().tolist() == [[-0.5, 1.5], [1.5, 1.5]]
    assert legend(figure) == ["normal", "anomaly", "decision threshold"]


@pytest.mark.parametrize("threshold", [None, NAN])
def test_no_threshold(threshold):
    figure = score_plot([group("source", [1], [2])], threshold=threshold)
    assert legend(figure) == ["normal", "anomaly"]


def test_unlabelled_clips_have_their_own_box_and_no_auc():
    figure = score_plot([ScoreGroup("00", "source", None, np.array([1.0, 2.0]))])
    assert strips(figure.axes[0]) == [[1.0, 2.0]]
    assert texts(figure.axes[0]) == []
    assert legend(figure) == ["unlabelled"]
    assert tick_names(figure.axes[0]) == ["unlabelled\nsection 00"]


def test_unlabelled_clips_of_both_domains_keep_their_names():  # 2021
    scores = np.array([1.0, 2.0])
    groups = [ScoreGroup("00", domain, None, scores) for domain in ("source", "target")]
    groups.append(ScoreGroup("01", "source", None, scores))
    names = tick_names(score_plot(groups).axes[0])
    assert names == ["source\nsection 00", "target", "unlabelled\nsection 01"]


@pytest.mark.parametrize(
    ("normal", "anomalous", "scale"),
    [
        ([1.0, 2.0], [50.0], "linear"),
        ([1.0, 2.0], [500.0], "log"),
        ([-1.0, 2.0], [50.0], "linear"),
        ([-1.0, 2.0, 0.0], [5e6], "symlog"),
        ([0.0, 0.0], [0.0], "linear"),
        ([5.0, 5.0], [5.0], "linear"),
        ([5.0], [], "linear"),
    ],
)
def test_scale_follows_the_span_of_the_scores(normal, anomalous, scale, tmp_path):
    groups = [group("source", normal, anomalous)]
    (axes,) = score_plot(groups).axes
    assert axes.get_yscale() == scale
    save_figure(score_plot(groups), tmp_path / "scores.png")
    assert (tmp_path / "scores.png").is_file()


def test_scores_that_are_not_finite_are_left_out():
    groups = [group("source", [1.0, NAN, 2.0], [np.inf, 3.0])]
    (axes,) = score_plot(groups).axes
    assert strips(axes) == [[1.0, 2.0], [3.0]]
    assert texts(axes) == ["AUC\n1.000"]


def test_names_do_not_overlap_with_six_sections_and_two_domains():
    groups = [
        group(domain, [1, 2], [3], section=f"0{number}")
        for number in range(6)
        for domain in ("source", "target")
    ]
    figure = score_plot(groups, "valve")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) == 12
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_no_clip_at_all(tmp_path):
    save_figure(score_plot([]), tmp_path / "scores.png")
    save_figure(roc_plot([]), tmp_path / "roc.png")
    assert (tmp_path / "scores.png").is_file()
    assert (tmp_path / "roc.png").is_file()


# --- ROC ---


def test_roc_plot_has_a_panel_per_section_and_a_line_per_domain():
    groups = [
        group("source", [1, 2, 3], [4, 2.5]),
        group("target", [3.5, 5], [6]),
        group("source", [1], [2], section="01"),
    ]
    figure = roc_plot(groups, "fan")
    assert [axes.get_title() for axes in figure.axes] == ["section 00", "section 01"]
    (first, source), (second, target) = curves(figure.axes[0]).items()
    assert first.startswith("source: AUC 0.889, pAUC ")
    assert second.startswith("target: AUC 0.500, pAUC ")
    assert source.get_linestyle() != target.get_linestyle()
    # Falling thresholds meet the anomalies 6 and 4, then normal 3, then anomaly 2.5.
    corners = {(round(x, 3), round(y, 3)) for x, y in source.get_xydata()}
    assert {(0, 0), (0, 0.667), (0.333, 0.667), (0.333, 1), (1, 1)} <= corners


def test_roc_legend_shows_the_values_of_the_result_table():
    rng = np.random.default_rng(0)
    scores, is_anomaly, is_target = rng.normal(size=80), rng.random(80) < 0.5, rng.random(80) < 0.4
    clips = SectionScores("00", scores, is_anomaly, is_target, np.zeros(80, dtype=int))
    table = section_metrics(clips, two_domains=True, max_fpr=0.3).columns
    domains = {"source": ~is_target, "target": is_target}
    groups = [ScoreGroup("00", d, is_anomaly[own], scores[own]) for d, own in domains.items()]
    (axes,) = roc_plot(groups, max_fpr=0.3).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"{d}: AUC {table[f'AUC ({d})']:.3f}, pAUC {table[f'pAUC ({d})']:.3f}" for d in domains
    ]


def test_a_domain_without_anomalies_has_no_pauc():
    groups = [group("source", [1, 2], [3]), group("target", [1, 4], [])]
    names = [line.get_label() for line in roc_plot(groups).axes[0].lines]
    assert "target: AUC 0.500, no pAUC" in names


def test_perfect_curves_do_not_lie_on_the_frame():
    (axes,) = roc_plot([group("source", [1, 2], [3])]).axes
    pixels = axes.transData.transform([(0, 0), (1, 1)]) - axes.bbox.min
    assert pixels.min() > 3
    assert (axes.bbox.size - pixels[1]).min() > 3


@pytest.mark.parametrize("max_fpr", [0.1, 0.25])
def test_the_strip_of_pauc_is_shaded(max_fpr):
    figure = roc_plot([group("source", [1], [2])], max_fpr=max_fpr)
    (strip,) = figure.axes[0].patches
    assert (strip.get_x(), strip.get_width()) == (0.0, max_fpr)


def test_one_class_only_is_said():
    groups = [group("source", [1, 2], []), ScoreGroup("01", "target", None, np.array([1.0]))]
    names = [line.get_label() for axes in roc_plot(groups).axes for line in axes.lines]
    assert "source: one class only" in names
    assert "target: one class only" in names


def test_surplus_panels_are_removed(tmp_path):
    groups = [group("source", [1], [2], section=f"0{number}") for number in range(4)]
    assert len(roc_plot(groups).axes) == 4
    save_figure(roc_plot(groups, "valve"), tmp_path / "roc.png")
    assert (tmp_path / "roc.png").is_file()
