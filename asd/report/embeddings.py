"""Pictures of embeddings: maps of clips in two dimensions, and histograms of scores."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asd.evaluation.metrics import auc
from asd.report.page import (
    DARK,
    FAINT,
    PALE,
    SMALL_SIZE,
    STRONG,
    TEXT_SIZE,
    new_figure,
    save_figure,
    shorten,
    style_axes,
)

FloatArray = npt.NDArray[np.float64]

_KINDS: tuple[tuple[str, str], ...] = (
    (PALE, "o"),
    (DARK, "^"),
    (STRONG, "x"),
    ("black", "+"),
    (DARK, "s"),
    (STRONG, "v"),
    (PALE, "D"),
    ("black", "*"),
)
"""Colour and marker, one after the other for each kind of clip: the marker alone tells it."""

_OTHERS = (FAINT, ".")

_LABELS = {
    "train normal": (PALE, "o"),
    "test unknown": ("black", "+"),
    "test normal": (DARK, "^"),
    "test anomaly": (STRONG, "x"),
}
"""The same kinds look the same in every picture; the last lies on top."""

_HISTOGRAMS: dict[str, dict[str, Any]] = {
    "normal, source": {"histtype": "stepfilled", "color": PALE},
    "normal, target": {"histtype": "step", "color": DARK, "linestyle": "--", "linewidth": 1.2},
    "anomaly": {"histtype": "step", "color": STRONG, "linewidth": 1.6},
}


def embedding_map(
    points: FloatArray, kinds: Mapping[str, Sequence[str]], path: Path, title: str = ""
) -> None:
    """Write the picture of `draw_embedding_map`."""
    save_figure(draw_embedding_map(points, kinds, title), path)


def draw_embedding_map(
    points: FloatArray, kinds: Mapping[str, Sequence[str]], title: str = ""
) -> Figure:
    """The same map in a panel for each way to tell clips apart.

    Parameters
    ----------
    points
        Places of the clips, shape (clips, 2); the axes have no meaning and no ticks.
    kinds
        Title of the panel -> what each clip is. The eight most frequent kinds are told apart;
        rarer kinds lie on top.
    """
    figure = new_figure(10.0, title)
    panels = figure.subplots(1, len(kinds), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (name, values) in zip(panels, kinds.items(), strict=True):
        style_axes(axes)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=TEXT_SIZE)
        _draw_kinds(axes, points, np.asarray(values))
    return figure


def _draw_kinds(axes: Axes, points: FloatArray, values: npt.NDArray[np.str_]) -> None:
    counts = Counter(values.tolist())
    frequent = sorted(counts, key=lambda kind: (-counts[kind], kind))[: len(_KINDS)]
    styles = dict(zip(frequent, _KINDS, strict=False))
    if counts.keys() <= _LABELS.keys():
        styles = {kind: style for kind, style in _LABELS.items() if kind in counts}
    if others := len(counts) - len(styles):
        chosen = ~np.isin(values, list(styles))
        _draw_points(axes, points[chosen], *_OTHERS, f"{others} others")
    for kind, (colour, marker) in styles.items():
        _draw_points(axes, points[values == kind], colour, marker, kind)
    axes.legend(
        loc="upper left", bbox_to_anchor=(0.0, -0.01), fontsize=SMALL_SIZE, frameon=False,
        handletextpad=0.2,
    )  # fmt: skip


def _draw_points(axes: Axes, points: FloatArray, colour: str, marker: str, label: str) -> None:
    axes.plot(
        points[:, 0],
        points[:, 1],
        linestyle="none",
        marker=marker,
        color=colour,
        markersize=3.5,
        markeredgewidth=0.8,
        label=shorten(f"{label} ({len(points)})", 30),
    )


def score_histograms(
    scores: Mapping[str, FloatArray],
    is_anomaly: npt.NDArray[np.bool_],
    is_target: npt.NDArray[np.bool_],
    path: Path,
    title: str = "",
) -> None:
    """Write the picture of `draw_score_histograms`."""
    save_figure(draw_score_histograms(scores, is_anomaly, is_target, title), path)


def draw_score_histograms(
    scores: Mapping[str, FloatArray],
    is_anomaly: npt.NDArray[np.bool_],
    is_target: npt.NDArray[np.bool_],
    title: str = "",
) -> Figure:
    """A panel per score: normal clips of both domains, and anomalies, as shares of their kind.

    Parameters
    ----------
    scores
        Score name -> shape (clips,). Beside the name stands the AUC over all clips.
    is_anomaly, is_target
        Shape (clips,).
    """
    columns = min(2, len(scores))
    rows = -(-len(scores) // columns)
    figure = new_figure(2.0 + 5.0 * rows, title)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    groups = {
        "normal, source": ~is_anomaly & ~is_target,
        "normal, target": ~is_anomaly & is_target,
        "anomaly": is_anomaly,
    }
    for axes, (name, values) in zip(panels, scores.items(), strict=False):
        style_axes(axes, "anomaly score", "share of clips")
        axes.set_title(f"{name}: AUC {auc(is_anomaly, values):.3f}", fontsize=TEXT_SIZE)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        edges = np.histogram_bin_edges(values, bins=24)
        for group, chosen in groups.items():
            if chosen.any():
                weights = np.full(chosen.sum(), 1 / chosen.sum())
                style = _HISTOGRAMS[group]
                axes.hist(values[chosen], bins=edges, weights=weights, label=group, **style)
    for axes in panels[len(scores) :]:
        axes.remove()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, fontsize=TEXT_SIZE, frameon=False
    )
    return figure
