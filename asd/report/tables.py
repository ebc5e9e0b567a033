"""Pictures of results over machine types and systems."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asd.report.page import (
    FAINT,
    MARKERS,
    SMALL_SIZE,
    TEXT_SIZE,
    colours,
    label,
    legend_below,
    new_figure,
    style_axes,
)

FloatArray = npt.NDArray[np.float64]


def summary_plot(
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
    title: str = "",
    metrics: Sequence[str] = ("AUC (source)", "AUC (target)", "pAUC"),
) -> Figure:
    """A panel per metric, a row per machine type, a mark per system; chance is a line at 0.5.

    Parameters
    ----------
    values
        System -> machine type -> metric -> value. A value that is nan or not there leaves a gap,
        a system without any value is left out.
    metrics
        What the panels show, left to right.
    """
    machines = list(dict.fromkeys(label(m) for system in values.values() for m in system))
    table = pd.DataFrame(
        [
            (label(system, 40), label(machine), metric, row.get(metric, np.nan))
            for system, found in values.items()
            for machine, row in found.items()
            for metric in metrics
        ],
        columns=["system", "machine", "metric", "value"],
    )
    table = table[np.isfinite(table["value"].astype(float))]
    systems = list(dict.fromkeys(table["system"]))
    height = len(machines) * max(0.55, 0.18 * len(systems))
    figure = new_figure(3.0 + height + 0.4 * (len(systems) // 2), title)
    panels = figure.subplots(1, len(metrics), squeeze=False, sharex=True, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":", label="chance")
        axes.hlines(range(len(machines)), 0.0, 1.0, color=FAINT, linewidth=0.6, zorder=0)
        if systems:
            _draw_metric(axes, table[table["metric"] == metric], systems, machines)
        style_axes(axes, metric)
    lowest = min([0.45, *table["value"]])
    panels[0].set_xlim(np.floor(lowest * 10) / 10 - 0.04, 1.04)  # whole marks at 0 and 1
    panels[0].set_ylim(max(len(machines), 1) - 0.5, -0.5)
    panels[0].set_yticks(range(len(machines)), machines, fontsize=TEXT_SIZE)
    legend_below(figure, panels[0], columns=2 if len(systems) > 2 else 3)
    return figure


def _draw_metric(
    axes: Axes, table: pd.DataFrame, systems: Sequence[str], machines: Sequence[str]
) -> None:
    sns.pointplot(
        table, x="value", y="machine", hue="system", order=machines, hue_order=systems, ax=axes,
        orient="y", linestyle="none", errorbar=None, palette=colours(len(systems)),
        markers=[MARKERS[i % len(MARKERS)] for i in range(len(systems))], markersize=4.5,
        dodge=0.7 - 0.7 / len(systems) if len(systems) > 1 else False, legend=False,
    )  # fmt: skip
    for line, system in zip(axes.lines[1:], systems, strict=True):
        line.set_label(system)


def heat_map(
    mean: npt.ArrayLike,
    systems: Sequence[str],
    machines: Sequence[str],
    title: str = "",
    *,
    std: npt.ArrayLike | None = None,
) -> Figure:
    """Official scores in percent as a shaded table, with a bar that tells the shades.

    Parameters
    ----------
    mean, std
        From 0 to 1, shape (systems, machines); over seeds. The standard deviation is written below
        the mean.
    """
    means = 100 * np.asarray(mean, dtype=float).reshape(len(systems), len(machines))
    deviations = 100 * np.asarray(np.nan if std is None else std, dtype=float)
    spreads = np.broadcast_to(deviations, means.shape)
    figure = new_figure(3.0 + 0.95 * len(systems), title)
    axes = figure.add_subplot()
    rows = zip(means, spreads, strict=True)
    texts = [[_cell(*pair) for pair in zip(*row, strict=True)] for row in rows]
    names = [label(system, 44) for system in systems]
    draw_shaded_table(axes, means, texts, names, machines, shade_limits(means))
    bar = figure.colorbar(axes.collections[0], ax=axes, fraction=0.03, pad=0.01)
    bar.set_label("official score [%]", fontsize=TEXT_SIZE)
    bar.ax.tick_params(labelsize=SMALL_SIZE, length=2)
    bar.outline.set_visible(False)
    return figure


def _cell(mean: float, std: float) -> str:
    return f"{mean:.2f}\n± {std:.2f}" if np.isfinite(std) else f"{mean:.2f}"


def shade_limits(values: FloatArray) -> tuple[float, float]:
    """The lowest and the highest finite value, which get the ends of the shades; 0 and 1 if none.

    `values` has any shape.
    """
    shown = values[np.isfinite(values)]
    return (float(shown.min()), float(shown.max())) if shown.size else (0.0, 1.0)


def draw_shaded_table(
    axes: Axes,
    values: FloatArray,
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    limits: tuple[float, float],
) -> None:
    """A table of numbers in which higher ones are darker; "-" where there is none.

    Parameters
    ----------
    values
        Shape (rows, columns).
    texts
        How the finite values are written, of the same shape.
    rows
        Names of the rows, fit to be drawn (`label`).
    columns
        Names of the columns, which are cut where they are too long.
    limits
        The values with the lightest and the darkest shade.
    """
    low, high = limits
    sns.heatmap(
        values, mask=~np.isfinite(values), annot=np.array(texts), fmt="", ax=axes, cmap="Blues",
        vmin=low, vmax=max(high, low + 1e-6), cbar=False, xticklabels=False, yticklabels=False,
        linewidths=0.8, annot_kws={"fontsize": SMALL_SIZE},
    )  # fmt: skip
    dark = low + 0.65 * (high - low)
    for text, value in zip(axes.texts, values[np.isfinite(values)], strict=True):
        text.set_color("white" if value > dark else "black")
    for row, column in np.argwhere(~np.isfinite(values)):
        axes.text(
            column + 0.5, row + 0.5, "-", ha="center", va="center", fontsize=SMALL_SIZE
        )  # fmt: skip
    axes.tick_params(length=0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=SMALL_SIZE)
    axes.set_xticks(
        np.arange(len(columns)) + 0.5, [label(name) for name in columns], fontsize=SMALL_SIZE,
        rotation=35.0, ha="right", rotation_mode="anchor",
    )  # fmt: skip
