"""A picture of which classes are mistaken for which."""

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from asd.report.page import DARK, FAINT, SMALL_SIZE, TEXT_SIZE, label, new_figure

_MOST_NAMED = 16
"""Classes whose names there is room for; of more, only the machine types are named."""


def confusion_plot(
    classes: Sequence[Sequence[str]], counts: Mapping[str, npt.NDArray[np.int64]], title: str = ""
) -> Figure:
    """A panel for each kind of clips; a row is a class, its colours are shares of its clips.

    Parameters
    ----------
    classes
        Names of each class, of which the first is the machine type; sorted.
    counts
        Kind of clips -> clips of each class (row) that are taken for each (column).
    """
    figure = new_figure(7.5, title)
    panels = figure.subplots(1, len(counts), squeeze=False, sharey=True)[0]
    colours = LinearSegmentedColormap.from_list("shares", ["white", DARK])
    for axes, (kind, found) in zip(panels, counts.items(), strict=True):
        total = found.sum(axis=1, keepdims=True)
        shares = np.divide(found, total, out=np.zeros(found.shape), where=total > 0)
        image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        right = np.trace(found) / max(1, found.sum())
        axes.set_title(
            f"{kind} clips\n{100 * right:.0f} % of {found.sum()} right", fontsize=TEXT_SIZE
        )
        _name_classes(axes, classes)
    panels[0].set_ylabel("class", fontsize=TEXT_SIZE)
    for axes in panels:
        axes.set_xlabel("nearest class", fontsize=TEXT_SIZE)
    bar = figure.colorbar(image, ax=list(panels), location="bottom", shrink=0.4, aspect=30)
    bar.set_label("share of the class's clips", fontsize=SMALL_SIZE)
    bar.ax.tick_params(labelsize=SMALL_SIZE)
    return figure


def _name_classes(axes: Axes, classes: Sequence[Sequence[str]]) -> None:
    """Names at the axes, and lines between machine types."""
    ends = np.cumsum([len(list(own)) for _, own in groupby(classes, key=lambda name: name[0])])
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color=FAINT, linewidth=0.8)
        axes.axvline(end - 0.5, color=FAINT, linewidth=0.8)
    if len(classes) <= _MOST_NAMED:
        places = np.arange(len(classes), dtype=float)
        names = [label(" ".join(name), 30) for name in classes]
    else:
        places = (np.append(0, ends[:-1]) + ends - 1) / 2
        names = [label(classes[end - 1][0]) for end in ends]
    axes.set_yticks(places, names, fontsize=SMALL_SIZE)
    axes.set_xticks([] if len(classes) <= _MOST_NAMED else places)
    if len(classes) > _MOST_NAMED:
        axes.set_xticklabels(names, fontsize=SMALL_SIZE, rotation=90)
    axes.tick_params(length=0)
