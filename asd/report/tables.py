"""Pictures of results over machine types and systems."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from asd.report.page import (
    DARK,
    FAINT,
    SMALL_SIZE,
    STRONG,
    TEXT_SIZE,
    new_figure,
    save_figure,
    shorten,
    style_axes,
)

FloatArray = npt.NDArray[np.float64]

_SYSTEM_STYLES = (
    (DARK, "o", "full"),
    (STRONG, "s", "none"),
    ("black", "^", "none"),
    (DARK, "D", "none"),
    (STRONG, "v", "full"),
    ("black", "x", "full"),
)
"""Colour, marker and its filling, one after the other for each system."""


def summary_plot(
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
    path: Path,
    title: str = "",
    metrics: Sequence[str] = ("AUC (source)", "AUC (target)", "pAUC"),
) -> None:
    """Write the picture of `draw_summary_plot`."""
    save_figure(draw_summary_plot(values, title, metrics), path)


def draw_summary_plot(
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
    machines = list(dict.fromkeys(m for system in values.values() for m in system))
    values = {name: found for name, found in values.items() if _has_value(found, metrics)}
    figure = new_figure(3.2 + 0.55 * len(machines), title)
    panels = figure.subplots(1, len(metrics), squeeze=False, sharex=True, sharey=True)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        style_axes(axes, metric)
        _draw_metric(axes, values, machines, metric)
    shown = [r.get(m, np.nan) for s in values.values() for r in s.values() for m in metrics]
    lowest = np.nanmin([0.45, *shown])
    panels[0].set_xlim(np.floor(lowest * 10) / 10 - 0.04, 1.04)  # whole marks at 0 and 1
    panels[0].set_ylim(max(len(machines), 1) - 0.5, -0.5)
    panels[0].set_yticks(range(len(machines)), [shorten(m) for m in machines], fontsize=TEXT_SIZE)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, fontsize=TEXT_SIZE, frameon=False
    )
    return figure


def _has_value(results: Mapping[str, Mapping[str, float]], metrics: Sequence[str]) -> bool:
    return any(
        np.isfinite(row.get(metric, np.nan)) for row in results.values() for metric in metrics
    )


def _draw_metric(
    axes: Axes,
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
    machines: Sequence[str],
    metric: str,
) -> None:
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":", label="chance")
    axes.hlines(range(len(machines)), 0.0, 1.0, color=FAINT, linewidth=0.6, zorder=0)
    for index, (system, results) in enumerate(values.items()):
        colour, marker, filling = _SYSTEM_STYLES[index % len(_SYSTEM_STYLES)]
        axes.plot(
            [results.get(machine, {}).get(metric, np.nan) for machine in machines],
            range(len(machines)),
            linestyle="none",
            color=colour,
            marker=marker,
            fillstyle=filling,
            markersize=5.0,
            label=shorten(system, 40),
        )


def heat_map(
    mean: npt.ArrayLike,
    systems: Sequence[str],
    machines: Sequence[str],
    path: Path,
    title: str = "",
    *,
    std: npt.ArrayLike | None = None,
) -> None:
    """Write the picture of `draw_heat_map`."""
    save_figure(draw_heat_map(mean, systems, machines, title, std=std), path)


def draw_heat_map(
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
    names = [shorten(system, 44) for system in systems]
    image = draw_shaded_table(axes, means, texts, names, machines, shade_limits(means))
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
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
) -> AxesImage:
    """A table of numbers in which higher ones are darker; "-" where there is none.

    Parameters
    ----------
    values
        Shape (rows, columns).
    texts
        How the finite values are written, of the same shape.
    rows, columns
        Names of the rows, and of the columns, which are cut where they are too long.
    limits
        The values with the lightest and the darkest shade.
    """
    low, high = limits
    style_axes(axes)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    image = axes.imshow(values, cmap="Blues", aspect="auto", vmin=low, vmax=max(high, low + 1e-6))
    for (row, column), value in np.ndenumerate(values):
        is_dark = np.isfinite(value) and value > low + 0.65 * (high - low)
        axes.text(
            column, row, texts[row][column] if np.isfinite(value) else "-", ha="center",
            va="center", fontsize=SMALL_SIZE, color="white" if is_dark else "black",
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), rows, fontsize=SMALL_SIZE)
    axes.set_xticks(
        range(len(columns)), [shorten(name) for name in columns], fontsize=SMALL_SIZE,
        rotation=35.0, ha="right", rotation_mode="anchor",
    )  # fmt: skip
    return image
