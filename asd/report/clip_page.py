"""A page of scored clips: one HTML file that needs nothing else, for a browser, phone or printer.

What it shows is said in plain values (`Page`), so that any command can write one. Names of files
are foreign text: everything is escaped by the template, and only the page's own script may run.
"""

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd.files import write_text
from asd.report.distribution import Distribution, draw
from asd.words import shown

_FOLDER = Path(__file__).parent / "html"
_LABELS = ("normal", "anomaly", "unlabelled")
_PRINT_ROWS, _PRINT_DETAILS = 100, 10
"""Clips that are listed, and shown in full, where the page is printed."""


class AxisTick(NamedTuple):
    """A mark of the frequency axis: its place in percent from the top, and what it says."""

    place: float
    text: str


class Box(NamedTuple):
    """A part of a spectrogram, in percent of its width and height from the top left."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Sound:
    """A recording, as the page shows it.

    Parameters
    ----------
    name
        Name of the file.
    seconds
        Its length.
    link
        Where a browser finds the file, as a URL; "" if nowhere.
    audio, mime
        The sound itself, to be part of the page; empty where the link has to do.
    picture
        Its spectrogram as PNG.
    ticks
        Frequencies beside the spectrogram.
    """

    name: str
    seconds: float = 0.0
    link: str = ""
    audio: bytes = b""
    mime: str = "audio/flac"
    picture: bytes = b""
    ticks: tuple[AxisTick, ...] = ()


@dataclass(frozen=True)
class ScoredClip:
    """A clip with its score.

    Parameters
    ----------
    sound
        The recording.
    machine, section, domain, label, attributes
        What is known of it; "" if nothing.
    score
        NaN for a recording that could not be read.
    decision
        Whether it is decided anomalous; None where nothing is decided.
    p_value
        None where there is none.
    heat
        PNG to lay over the spectrogram, see `asd.report.pictures.heat_png`.
    boxes
        Parts that raised the score.
    why
        A sentence about them.
    normal, normal_heading
        A normal recording to compare with, and what it is.
    error
        Why it could not be scored.
    """

    sound: Sound
    machine: str
    score: float
    section: str = ""
    domain: str = ""
    label: str = ""
    attributes: str = ""
    decision: bool | None = None
    p_value: float | None = None
    heat: bytes = b""
    boxes: tuple[Box, ...] = ()
    why: str = ""
    normal: Sound | None = None
    normal_heading: str = "Nearest normal clip"
    error: str = ""

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.sound.name

    @property
    def has_detail(self) -> bool:
        """Whether there is more to show than the score."""
        return bool(self.sound.picture)


@dataclass(frozen=True)
class NormalScores:
    """What scores of a machine type's clips are held against.

    Parameters
    ----------
    values
        Scores of normal clips, shape (clips,); may be none.
    threshold
        The score above which clips are decided anomalous; None where nothing is decided.
    """

    values: tuple[float, ...] = ()
    threshold: float | None = None

    def deviation(self, score: float) -> float:
        """How far a score lies above usual ones, so that machine types can share a ranking.

        In units of the way from the normal scores' median to the threshold, or to their 0.9
        quantile; the score itself where no normal score is known. -inf for one that is not finite.
        """
        if not math.isfinite(score):
            return -math.inf
        if not self.values:
            return score
        middle = float(np.median(self.values))
        is_usable = self.threshold is not None and middle < self.threshold < math.inf
        limit = self.threshold if is_usable else float(np.quantile(self.values, 0.9))
        return (score - middle) / (abs(float(limit or 0.0) - middle) or 1.0)


@dataclass(frozen=True)
class Table:
    """A table of results; the first `texts` columns are words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1


@dataclass(frozen=True)
class Picture:
    """A figure of a run."""

    title: str
    png: bytes


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Parameters
    ----------
    title
        Its heading.
    score
        Name of the score that clips are ranked by.
    clips
        In any order.
    normal
        Machine type -> what its clips are held against.
    facts
        Pairs of words and values for the head of the page.
    notes
        Sentences below them.
    tables, figures
        Results of a run.
    footer
        The last line.
    """

    title: str
    score: str
    clips: Sequence[ScoredClip]
    normal: dict[str, NormalScores]
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Picture, ...] = ()
    footer: str = ""


def write_page(path: Path, page: Page) -> None:
    """Write a page, whole or not at all.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    write_text(path, render(page))


def ranked(clips: Sequence[ScoredClip], normal: dict[str, NormalScores]) -> list[ScoredClip]:
    """Clips, the most anomalous first; of equal ones the first given."""
    return sorted(clips, key=lambda clip: -_normal_of(clip, normal).deviation(clip.score))


def render(page: Page) -> str:
    """The HTML of a page."""
    drawings = _distributions(page)
    several = len({clip.machine for clip in page.clips}) > 1
    rows = [
        _row(rank, clip, page, drawings.get(clip.machine), several)
        for rank, clip in enumerate(ranked(page.clips, page.normal), 1)
    ]
    _fill_bars(rows)
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    text: str = (
        page_environment()
        .get_template("page.html.jinja")
        .render(
            page=page,
            clips=rows,
            distributions=list(drawings.values()),
            filters=_filters(page.clips),
            has_marks=any(clip.heat or clip.boxes for clip in page.clips),
            print_rows=_PRINT_ROWS,
            print_details=_PRINT_DETAILS,
            policy=_policy(script),
            script=_trusted(script),
            style=page_style(),
        )
    )
    return text


def page_style() -> Any:
    """The style sheet of pages."""
    return _trusted((_FOLDER / "page.css").read_text(encoding="utf-8"))


@cache
def page_environment() -> Any:
    """What makes pages of templates: all text is escaped."""
    import jinja2  # slow to import

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: shown(value) if type(value) is str else value,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["seconds"] = lambda value: f"{value:.3g} s"
    return environment


def _trusted(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _policy(script: str) -> str:
    """No network, and no script but the page's own, whatever stands in a name."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; media-src data: file: 'self'; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _data_uri(content: bytes, mime: str) -> Any:
    return _trusted(f"data:{mime};base64,{base64.b64encode(content).decode()}")


@dataclass
class _Row:
    """A line of the ranking, and what stands above the clip's details."""

    rank: int
    clip: ScoredClip
    deviation: float
    score: str
    about: str
    verdict: str
    facts: str
    decision: str
    x: str
    bar: float = 0.0


def _row(
    rank: int, clip: ScoredClip, page: Page, drawing: Distribution | None, several: bool
) -> _Row:
    """The line of a clip; with several machine types it names the clip's."""
    normal = _normal_of(clip, page.normal)
    is_scored = math.isfinite(clip.score)
    parts = [clip.machine, clip.section and f"section {clip.section}", clip.domain, clip.attributes]
    about = [clip.machine if several else "", clip.domain, clip.attributes or clip.error]
    return _Row(
        rank,
        clip,
        normal.deviation(clip.score),
        _number(clip.score) if is_scored else "none",
        ", ".join(filter(None, about)),
        _verdict(clip, page.score, normal),
        ", ".join(filter(None, [*parts, clip.label and f"labelled {clip.label}"])),
        {None: "", True: "anomalous", False: "normal"}[clip.decision],
        f"{drawing.scale.place(clip.score)}" if drawing and is_scored else "",
    )


def _number(value: float) -> str:
    """A score in few letters."""
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def _verdict(clip: ScoredClip, score: str, normal: NormalScores) -> str:
    if clip.error:
        return f"Not scored: {clip.error}"
    parts = [f"{score} {clip.score:.5g}"]
    if normal.threshold is not None and math.isfinite(normal.threshold):
        parts.append(f"threshold {normal.threshold:.5g}")
    if normal.values:
        below = sum(value < clip.score for value in normal.values)
        parts.append(f"higher than {below} of {len(normal.values)} normal clips")
    if clip.p_value is not None:
        parts.append(f"p-value {clip.p_value:.3g}")
    if clip.decision is not None:
        parts.append(f"decided {'anomalous' if clip.decision else 'normal'}")
    return ", ".join(parts)


def _fill_bars(rows: Sequence[_Row]) -> None:
    """Lengths of the bars beside scores, in percent of the longest.

    They are logarithms, as one clip may lie a hundred times as far off as the others.
    """
    lengths = [
        math.log1p(max(0.0, row.deviation)) if math.isfinite(row.deviation) else 0.0 for row in rows
    ]
    longest = max(lengths, default=0.0) or 1.0
    for row, length in zip(rows, lengths, strict=True):
        row.bar = round(100 * length / longest, 1)


def _normal_of(clip: ScoredClip, normal: dict[str, NormalScores]) -> NormalScores:
    return normal.get(clip.machine, NormalScores())


def _distributions(page: Page) -> dict[str, Distribution]:
    """Machine type -> drawing of its scores."""
    found = {}
    for machine in dict.fromkeys(clip.machine for clip in page.clips):
        own = [clip for clip in page.clips if clip.machine == machine]
        by_label = {
            label: [clip.score for clip in own if _label(clip) == label] for label in _LABELS
        }
        normal = page.normal.get(machine, NormalScores())
        drawing = draw(machine, page.score, normal.values, by_label, normal.threshold)
        if drawing is not None:
            found[machine] = drawing
    return found


def _label(clip: ScoredClip) -> str:
    return clip.label if clip.label in ("normal", "anomaly") else "unlabelled"


class _Filter(NamedTuple):
    key: str
    title: str
    options: list[tuple[str, str]]


def _filters(clips: Sequence[ScoredClip]) -> list[_Filter]:
    """Choices of what there is more than one of."""
    values = {
        ("machine", "machine"): [clip.machine for clip in clips],
        ("section", "section"): [clip.section for clip in clips],
        ("domain", "domain"): [clip.domain for clip in clips],
        ("label", "label"): [clip.label or "unlabelled" for clip in clips],
        ("decision", "decided"): [
            "" if clip.decision is None else ("anomalous" if clip.decision else "normal")
            for clip in clips
        ],
    }
    found = []
    for (key, title), given in values.items():
        options = sorted({value for value in given if value})
        if len(set(given)) > 1:
            found.append(_Filter(key, title, [(value, value) for value in options]))
    return found
