"""Pictures of embeddings: maps of clips in two dimensions, and histograms of scores."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asd.evaluation.metrics import auc
from asd.report.page import (
    DARK,
    FAINT,
    MARKERS,
    PALE,
    SMALL_SIZE,
    STRONG,
    TEXT_SIZE,
    colours,
    cycled,
    label,
    legend_below,
    new_figure,
    style_axes,
)

FloatArray = npt.NDArray[np.float64]

_LABELS = {
    "train normal": (PALE, "o"),
    "test unknown": ("black", "P"),
    "test normal": (DARK, "^"),
    "test anomaly": (STRONG, "X"),
}
"""The same kinds look the same in every picture; the last lies on top."""

_HISTOGRAMS: dict[str, dict[str, Any]] = {
    "normal, source": {"fill": True, "color": PALE, "linewidth": 0.0, "alpha": 1.0},
    "normal, target": {"fill": False, "color": DARK, "linestyle": "--", "linewidth": 1.2},
    "anomaly": {"fill": False, "color": STRONG, "linewidth": 1.6},
}

_BINS = 24
_LEGEND_ROWS = 12


def embedding_map(
    points: FloatArray,
    kinds: Mapping[str, Sequence[str]],
    title: str = "",
    most: int = len(MARKERS),
) -> Figure:
    """The same map in a panel for each way to tell clips apart.

    Parameters
    ----------
    points
        Places of the clips, shape (clips, 2); the axes have no meaning and no ticks.
    kinds
        Title of the panel -> what each clip is. Rarer kinds lie on top.
    most
        So many kinds are told apart, the most frequent ones.
    """
    figure = new_figure(10.0, title)
    panels = figure.subplots(1, len(kinds), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (name, values) in zip(panels, kinds.items(), strict=True):
        _draw_kinds(axes, points, np.asarray(values), most)
        style_axes(axes)
        sns.despine(ax=axes, left=True, bottom=True)
        axes.set(xticks=[], yticks=[])
        axes.set_title(label(name), fontsize=TEXT_SIZE)
    return figure


def _draw_kinds(axes: Axes, points: FloatArray, values: npt.NDArray[np.str_], most: int) -> None:
    counts = Counter(values.tolist())
    styles = _kind_styles(counts, most)
    others = len(counts) - len(styles)
    rest = sum(counts.values()) - sum(counts[kind] for kind in styles)
    names = {kind: _counted(kind, counts[kind]) for kind in styles}
    looks = {names[kind]: look for kind, look in styles.items()}
    if others:  # at the bottom
        looks = {_counted(f"{others} others", rest): (FAINT, "o"), **looks}
    order = list(looks)
    table = pd.DataFrame({
        "x": points[:, 0], "y": points[:, 1],
        "kind": pd.Categorical([names.get(value, order[0]) for value in values.tolist()], order),
    })  # fmt: skip
    sns.scatterplot(
        table.sort_values("kind", kind="stable"), x="x", y="y", hue="kind", style="kind", ax=axes,
        hue_order=order, style_order=order, s=20, linewidth=0.3, edgecolor="white",
        palette={name: colour for name, (colour, _) in looks.items()},
        markers={name: marker for name, (_, marker) in looks.items()},
    )  # fmt: skip
    axes.legend(
        loc="upper left", bbox_to_anchor=(0.0, -0.01), fontsize=SMALL_SIZE, frameon=False,
        handletextpad=0.2, ncols=-(-len(order) // _LEGEND_ROWS),
    )  # fmt: skip


def _kind_styles(counts: Mapping[str, int], most: int) -> dict[str, tuple[Any, str]]:
    """Colour and marker of the most frequent kinds, the most frequent first."""
    if counts.keys() <= _LABELS.keys():
        return {kind: style for kind, style in _LABELS.items() if kind in counts}
    frequent = sorted(counts, key=lambda kind: (-counts[kind], kind))[:most]
    n = max(len(frequent), len(MARKERS))  # few kinds look the same in every picture
    return dict(zip(frequent, zip(colours(n), cycled(MARKERS, n), strict=True), strict=False))


def _counted(kind: str, count: int) -> str:
    return f"{label(kind, 22)} ({count})"


def score_histograms(
    scores: Mapping[str, FloatArray],
    is_anomaly: npt.NDArray[np.bool_],
    is_target: npt.NDArray[np.bool_],
    title: str = "",
) -> Figure:
    """A panel per score: normal clips of both domains, and anomalies, as shares of their kind.

    Parameters
    ----------
    scores
        Score name -> shape (clips,), finite. Beside the name stands the AUC over all clips.
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
        edges = _edges(values)
        for group, chosen in groups.items():
            if chosen.any():
                sns.histplot(
                    x=values[chosen], bins=edges, stat="proportion", element="step", label=group,
                    ax=axes, **_HISTOGRAMS[group],
                )  # fmt: skip
        style_axes(axes, "anomaly score", "share of clips")
        axes.set_title(f"{label(name)}: AUC {auc(is_anomaly, values):.3f}", fontsize=TEXT_SIZE)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    for axes in panels[len(scores) :]:
        axes.remove()
    legend_below(figure, panels[0])
    return figure


def _edges(values: FloatArray) -> FloatArray:
    """Edges of equal bins; a range of some width also where all values are about equal."""
    low, high = float(values.min()), float(values.max())
    least = 1e-6 * max(abs(low), abs(high)) or 1.0
    if high - low < least:
        low, high = low - least / 2, high + least / 2
    return np.linspace(low, high, _BINS + 1)
