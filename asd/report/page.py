"""What all figures share: the page's measures, names in them, the look of axes, and the file.

Figures are made through matplotlib's objects, never its global state, so that they can be drawn
in any thread and without a screen.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asd.files import write_aside
from asd.words import shown

PAGE_WIDTH_CM = 16.0
"""Text width of an A4 page."""

DOTS_PER_INCH = 180

TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 9.0, 8.0, 7.0
"""Points."""

DARK, STRONG, PALE, FAINT = "#1f3a5f", "#d1632f", "#9fb8d4", "#d9d9d9"
"""Blues, an orange and a grey that the colour-blind tell apart; darkest first, also in grey."""

MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*")
"""One after the other, so that kinds differ without colour too."""


_COLOURS = (
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc",
    "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9",
)  # fmt: skip
"""Seaborn's palette "colorblind"; importing seaborn for it would cost every training 0.7 s."""


def colours(count: int) -> list[str]:
    """Colours that the colour-blind tell apart, repeated after the tenth."""
    return cycled(_COLOURS, count)


def cycled(values: Sequence[str], count: int) -> list[str]:
    """The first so many values, from the start again after the last."""
    return [values[i % len(values)] for i in range(count)]


def new_figure(height_cm: float, title: str = "") -> Figure:
    """An empty figure of the page's width; a long title is broken into lines."""
    figure = Figure(
        figsize=(PAGE_WIDTH_CM / 2.54, height_cm / 2.54), dpi=DOTS_PER_INCH, layout="constrained"
    )
    if title:
        lines = textwrap.wrap(shown(title), 80)
        figure.suptitle("\n".join(label(line, 80) for line in lines), fontsize=TITLE_SIZE)
    return figure


def label(name: str, longest: int = 24) -> str:
    """A name as it may be drawn: every name from a file or folder goes through here.

    It is cut in its middle where it is too long, for both ends tell names apart; what cannot be
    printed is escaped, and so are dollars, between which matplotlib sees mathematics.
    """
    text = shown(name)
    if len(text) > longest:
        head = (longest - 1) // 2
        text = f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"
    # Labels that begin with an underscore are left out of legends.
    return (f" {text}" if text.startswith("_") else text).replace("$", r"\$")


def style_axes(axes: Axes, x_label: str = "", y_label: str = "") -> None:
    """Small print, and no frame but the two axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TEXT_SIZE, length=2.5)
    axes.set_xlabel(x_label, fontsize=TEXT_SIZE)
    axes.set_ylabel(y_label, fontsize=TEXT_SIZE)


def scale_axis(axes: Axes, values: npt.NDArray[np.float64]) -> None:
    """A logarithmic axis where values span decades, symmetric about 0 if some are not positive."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return
    if values.min() > 0:
        if values.max() > 100 * values.min():
            axes.set_yscale("log")
        return
    usual = float(np.median(np.abs(values)))
    if np.abs(values).max() > 100 * usual > 0:
        axes.set_yscale("symlog", linthresh=usual)


def legend_below(figure: Figure, axes: Axes, columns: int = 3) -> None:
    """The legend of some axes, below the figure; none where nothing is labelled."""
    handles, labels = axes.get_legend_handles_labels()
    if legend := axes.get_legend():
        legend.remove()
    if labels:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, fontsize=TEXT_SIZE,
            frameon=False,
        )  # fmt: skip


@contextmanager
def same_jitter() -> Iterator[None]:
    """Points are spread sideways the same way every time; others' random numbers stay theirs."""
    state = np.random.get_state()  # seaborn draws from numpy's global generator
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    with write_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=DOTS_PER_INCH)
