"""The picture of a training: losses over epochs.

Drawn by matplotlib alone, which every training can afford: seaborn takes 0.7 s to import.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from asd.report.page import (
    MARKERS,
    TEXT_SIZE,
    colours,
    cycled,
    label,
    new_figure,
    scale_axis,
    style_axes,
)

_MARKS = 12  # on a line, so that lines differ without colour too


def loss_curve(log: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """The columns of a training log over epochs.

    Parameters
    ----------
    log
        Column name -> one value per epoch. Columns without a finite value are left out, and so is
        a column "epoch".
    """
    figure = new_figure(7.0, title)
    axes = figure.add_subplot()
    columns = {name: np.array(log[name], dtype=np.float64) for name in log if name != "epoch"}
    shown = {name: column for name, column in columns.items() if np.isfinite(column).any()}
    styles = zip(colours(len(shown)), cycled(MARKERS, len(shown)), strict=True)
    for (name, column), (colour, marker) in zip(shown.items(), styles, strict=True):
        (epochs,) = np.nonzero(np.isfinite(column))
        axes.plot(
            epochs + 1, column[epochs], label=label(name), color=colour, linewidth=1.2,
            marker=marker, markersize=4.5, markevery=max(1, len(column) // _MARKS),
        )  # fmt: skip
    if shown:
        axes.legend(fontsize=TEXT_SIZE, frameon=False)
    style_axes(axes, "epoch", "loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    epochs_done = max(map(len, shown.values()), default=1)
    axes.set_xlim(0.5, max(1, epochs_done) + 0.5)
    scale_axis(axes, np.concatenate([*shown.values(), np.empty(0)]))
    return figure
