"""The page of a search for parameters: one HTML file that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = Path(__file__).with_name("html")


@dataclass(frozen=True)
class SearchPage:
    """What the page shows.

    Parameters
    ----------
    facts
        Names and values below the title.
    notes
        Sentences below those.
    columns, rows
        The table of trials.
    figures
        Headings, and figures as HTML that use `plot_script`.
    plot_script
        JavaScript that draws the figures.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[tuple[str, str]] = field(default=())
    plot_script: str = ""


def search_page(page: SearchPage) -> str:
    """The page as HTML; names in it are escaped."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True)
    template = environment.get_template("search.html.jinja")
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    text: str = template.render(
        style=style, **{name: getattr(page, name) for name in page.__dataclass_fields__}
    )
    return text
