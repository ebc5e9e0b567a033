"""What all figures share: the page's measures, the look of axes, and writing the file.

Figures are made through matplotlib's objects, never its global state, so that they can be drawn
in any thread and without a screen.
"""

import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asd.files import write_aside

PAGE_WIDTH_CM = 16.0
"""Text width of an A4 page."""

DOTS_PER_INCH = 180

TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 9.0, 8.0, 7.0
"""Points."""

DARK, STRONG, PALE, FAINT = "#1f3a5f", "#d1632f", "#9fb8d4", "#d9d9d9"
"""Four colours whose grey values are well apart, darkest first."""


def new_figure(height_cm: float, title: str = "") -> Figure:
    """An empty figure of the page's width; a long title is broken into lines."""
    figure = Figure(
        figsize=(PAGE_WIDTH_CM / 2.54, height_cm / 2.54), dpi=DOTS_PER_INCH, layout="constrained"
    )
    if title:
        figure.suptitle("\n".join(textwrap.wrap(title, 80)), fontsize=TITLE_SIZE)
    return figure


def style_axes(axes: Axes, x_label: str = "", y_label: str = "") -> None:
    """Small print, and no frame but the two axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=TEXT_SIZE, length=2.5)
    axes.set_xlabel(x_label, fontsize=TEXT_SIZE)
    axes.set_ylabel(y_label, fontsize=TEXT_SIZE)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    with write_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=DOTS_PER_INCH)


def shorten(name: str, longest: int = 24) -> str:
    """A name cut in its middle where it is too long for a label; both ends tell names apart."""
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"
