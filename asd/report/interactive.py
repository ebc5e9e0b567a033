"""Maps of embeddings in three dimensions, to be turned and looked at clip by clip in a browser."""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asd.errors import UserError
from asd.files import write_text
from asd.report.page import FAINT, colours
from asd.words import shown

FloatArray = npt.NDArray[np.float64]

_SYMBOLS = (
    "circle", "square", "diamond", "cross", "x", "circle-open", "square-open", "diamond-open",
)  # fmt: skip
"""All that plotly has in three dimensions."""

_OTHERS = "others"

_CONFIG = {"displaylogo": False, "showSendToCloud": False}
"""Without the button that uploads the clips' names and places."""


@dataclass(frozen=True)
class PlacedClips:
    """Clips of a machine type in a map.

    Parameters
    ----------
    points
        Shape (clips, 3).
    names
        What is shown of a clip that the pointer is on, shape (clips,).
    kinds
        A way to tell clips apart -> what each clip is.
    """

    points: FloatArray
    names: Sequence[str]
    kinds: Mapping[str, Sequence[str]]


def check_plotly() -> None:
    """Refuse interactive maps where plotly is not installed.

    Raises
    ------
    UserError
        Says how it is installed.
    """
    try:
        import plotly  # noqa: F401
    except ImportError:
        raise UserError(
            "--interactive: plotly is not installed; run: pip install 'asd[interactive]'"
        ) from None


def write_maps(path: Path, machines: Mapping[str, PlacedClips], title: str) -> None:
    """Write one HTML file with the maps of all machine types; it needs no network.

    A menu chooses the machine type and the way clips are told apart; the legend switches kinds
    off and on.

    Raises
    ------
    UserError
        The folder cannot be written to.
    """
    import plotly.graph_objects as go

    traces: list[Any] = []
    views: list[tuple[str, int, int]] = []  # name, first trace, end
    for machine, clips in machines.items():
        for way, kinds in clips.kinds.items():
            first = len(traces)
            traces += _traces(go, clips, np.asarray(kinds))
            views.append((f"{machine}: {way}", first, len(traces)))
    menu = [
        {
            "label": _text(name),
            "method": "restyle",
            "args": ["visible", [first <= i < end for i in range(len(traces))]],
        }
        for name, first, end in views
    ]
    for i, trace in enumerate(traces):
        trace.visible = i < views[0][2]
    figure = go.Figure(traces)
    axis = {"showticklabels": False, "title": "", "showspikes": False}
    figure.update_layout(
        title=_text(title),
        template="plotly_white",
        scene={"xaxis": axis, "yaxis": axis, "zaxis": axis},
        updatemenus=[{"buttons": menu, "x": 0.0, "xanchor": "left", "y": 1.0, "yanchor": "top"}],
        legend={"itemsizing": "constant", "orientation": "h", "y": 0.0, "yanchor": "bottom"},
        margin={"l": 0, "r": 0, "b": 0, "t": 50},
    )
    page = figure.to_html(include_plotlyjs=True, div_id="map", config=_CONFIG)
    write_text(path, page)


def _traces(go: Any, clips: PlacedClips, kinds: npt.NDArray[np.str_]) -> list[Any]:
    """Points of each kind: the most frequent in colours of their own, others in grey."""
    counts = Counter(kinds.tolist())
    frequent = sorted(counts, key=lambda kind: (-counts[kind], kind))[: len(_SYMBOLS)]
    looks = dict(zip(frequent, zip(colours(len(_SYMBOLS)), _SYMBOLS, strict=True), strict=False))
    groups = {kind: kinds == kind for kind in frequent}
    rest = ~np.isin(kinds, frequent)
    if rest.any():
        groups[f"{len(counts) - len(frequent)} {_OTHERS}"] = rest
    found = []
    for kind, chosen in groups.items():
        colour, symbol = looks.get(kind, (FAINT, "circle"))
        x, y, z = clips.points[chosen].T.tolist()
        found.append(
            go.Scatter3d(
                x=x,
                y=y,
                z=z,
                mode="markers",
                name=_text(f"{kind} ({int(chosen.sum())})"),
                text=[_text(clips.names[int(i)]) for i in np.flatnonzero(chosen)],
                hoverinfo="text",
                marker={"size": 4, "color": colour, "symbol": symbol},
            )
        )
    return found


def _text(name: str) -> str:
    """A name as plotly shows it, which takes some HTML for what it is."""
    return html.escape(shown(name), quote=False)
