"""Maps of clusters."""

import numpy as np

from asd.report.clusters import cluster_map


def test_all_clusters_that_a_machine_type_may_have_are_told_apart(rng):
    """16 of source and 2 of target clips, in the published recipes; rare ones too."""
    names = [f"source {i}" for i in range(16) for _ in range(9)] + ["target 0", "target 1"]
    figure = cluster_map(rng.standard_normal((len(names), 2)), names, [""] * len(names))
    (axes,) = figure.axes
    handles = axes.get_legend().legend_handles
    assert {each.get_label().rpartition(" ")[0] for each in handles} == set(names)
    looks = {(str(each.get_markerfacecolor()), str(each.get_marker())) for each in handles}
    assert len(looks) == 18


def test_true_classes_have_a_panel_where_one_is_known():
    points, names = np.eye(3, 2), ["source 0"] * 3
    panels = cluster_map(points, names, ["spd_1", "", "spd_2"], "fan").axes
    assert [axes.get_title() for axes in panels] == ["by cluster", "by true class"]
    assert len(cluster_map(points, names, [""] * 3).axes) == 1
