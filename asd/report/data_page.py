"""A page of a data set: how many clips of each kind there are, and how a few of them sound."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asd.files import write_text
from asd.report.clip_page import Sound, page_environment, page_style


@dataclass(frozen=True)
class ClipGroup:
    """Clips of one kind.

    Parameters
    ----------
    heading
        What they are.
    about
        How many there are, and what else is known of them.
    sounds
        Some of them, with what stands above each.
    """

    heading: str
    about: str
    sounds: Sequence[tuple[str, Sound]] = ()


@dataclass(frozen=True)
class DataPage:
    """What a page shows.

    Parameters
    ----------
    title
        Its heading.
    facts
        Pairs of words and values below it.
    notes
        Sentences below those.
    columns, rows
        The table of counts; the first `texts` columns are words.
    groups
        Machine type -> its groups.
    footer
        The last line.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    groups: dict[str, list[ClipGroup]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    footer: str = ""


def write_data_page(path: Path, page: DataPage) -> None:
    """Write a page, whole or not at all.

    Raises
    ------
    UserError
        The file cannot be written.
    """
    template = page_environment().get_template("data.html.jinja")
    write_text(path, template.render(page=page, style=page_style()))
