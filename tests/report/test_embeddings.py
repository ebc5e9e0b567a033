"""Maps and histograms: what is drawn, read back from the figure."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from asd.report.embeddings import embedding_map, score_histograms
from asd.report.page import STRONG, save_figure


def labels_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_panel_per_way_to_tell_clips_apart(rng):
    points = rng.standard_normal((6, 2))
    domain = ["source", "source", "target", "source", "source", "target"]
    label = ["train normal", "train normal", "test anomaly", "test normal", "test normal"]
    figure = embedding_map(points, {"domain": domain, "label": [*label, "test anomaly"]})
    left, right = figure.axes
    assert labels_of(left) == ["source (4)", "target (2)"]
    assert labels_of(right) == ["train normal (2)", "test normal (2)", "test anomaly (2)"]
    for axes in (left, right):
        handles = axes.get_legend().legend_handles
        assert len({handle.get_marker() for handle in handles}) == len(handles)
    assert places(right, "test anomaly (2)") == {tuple(points[2]), tuple(points[5])}
    assert places(left, "source (4)") == {tuple(points[i]) for i in (0, 1, 3, 4)}


def places(axes, name):
    """Where clips are that have the colour of a name in the legend."""
    handles = {handle.get_label(): handle for handle in axes.get_legend().legend_handles}
    colour = to_hex(handles[name].get_markerfacecolor())
    (dots,) = axes.collections
    own = [to_hex(face) == colour for face in dots.get_facecolors()]
    return set(map(tuple, dots.get_offsets()[own].tolist()))


def test_the_kinds_of_labels_that_matter_lie_on_top(rng):
    label = ["test anomaly", "train normal", "test normal"] * 4
    (axes,) = embedding_map(rng.standard_normal((12, 2)), {"label": label}).axes
    faces = [to_hex(face) for face in axes.collections[0].get_facecolors()]
    assert [len(set(faces[k : k + 4])) for k in (0, 4, 8)] == [1, 1, 1]
    assert faces[-1] == STRONG


def test_rare_kinds_are_others(rng):
    values = [f"kind{i}" for i in range(8) for _ in range(2)] + ["rare", "rarer"]
    figure = embedding_map(rng.standard_normal((18, 2)), {"attributes": values})
    (axes,) = figure.axes
    assert labels_of(axes)[0] == "2 others (2)"
    assert len(labels_of(axes)) == 9
    assert len(axes.collections[0].get_offsets()) == 18


def test_histograms_are_shares_of_their_kind():
    is_anomaly = np.array([False] * 6 + [True] * 3)
    is_target = np.array([False, False, False, False, True, True, False, True, True])
    scores = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 1.1, 0.05])
    figure = score_histograms({"KNN": scores, "GMM": -scores}, is_anomaly, is_target)
    first, second = figure.axes
    assert first.get_title() == f"KNN: AUC {13 / 18:.3f}"
    assert second.get_title() == f"GMM: AUC {5 / 18:.3f}"
    (filled,) = first.collections
    assert np.isclose(filled.get_paths()[0].vertices[:, 1].max(), 0.25)  # four clips, a bin each
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["normal, source", "normal, target", "anomaly"]


@pytest.mark.parametrize(
    "values", [[0.0] * 4, [1e30] * 4, [1.0, 1.0 + 2e-16, 1.0, 1.0], [0, 1, 2, 1e9]]
)
def test_histograms_of_scores_that_hardly_differ(values, tmp_path):
    is_anomaly = np.array([False, False, True, True])
    figure = score_histograms({"KNN": np.array(values, float)}, is_anomaly, ~is_anomaly)
    save_figure(figure, tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 5000
