"""Maps and histograms: what is drawn, read back from the figure."""

import numpy as np

from asd.report.embeddings import draw_embedding_map, draw_score_histograms


def labels_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_panel_per_way_to_tell_clips_apart(rng):
    points = rng.standard_normal((6, 2))
    domain = ["source", "source", "target", "source", "source", "target"]
    label = ["train normal", "train normal", "test anomaly", "test normal", "test normal"]
    figure = draw_embedding_map(points, {"domain": domain, "label": [*label, "test anomaly"]})
    left, right = figure.axes
    assert labels_of(left) == ["source (4)", "target (2)"]
    assert labels_of(right) == ["train normal (2)", "test normal (2)", "test anomaly (2)"]
    for axes in (left, right):
        markers = [line.get_marker() for line in axes.lines]
        assert len(set(markers)) == len(markers)  # they differ without colours
    np.testing.assert_array_equal(left.lines[1].get_xydata(), points[[2, 5]])
    np.testing.assert_array_equal(right.lines[2].get_xydata(), points[[2, 5]])


def test_rare_kinds_are_others(rng):
    values = [f"kind{i}" for i in range(8) for _ in range(2)] + ["rare", "rarer"]
    figure = draw_embedding_map(rng.standard_normal((18, 2)), {"attributes": values})
    (axes,) = figure.axes
    assert labels_of(axes)[0] == "2 others (2)"
    assert len(axes.lines) == 9


def test_histograms_are_shares_of_their_kind():
    is_anomaly = np.array([False] * 6 + [True] * 3)
    is_target = np.array([False, False, False, False, True, True, False, True, True])
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 1.1, 0.05])
    figure = draw_score_histograms({"KNN": scores, "GMM": -scores}, is_anomaly, is_target)
    first, second = figure.axes
    assert first.get_title() == f"KNN: AUC {13 / 18:.3f}"
    assert second.get_title() == f"GMM: AUC {5 / 18:.3f}"
    assert len(first.patches) == 3
    filled = first.patches[0].get_path().vertices[:, 1]
    assert np.isclose(filled.max(), 0.25)  # four source clips, a bin each
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["normal, source", "normal, target", "anomaly"]
