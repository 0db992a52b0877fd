"""A page as data, and the one HTML file it becomes: all inside, nothing fetched, no text of others run or obeyed."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.report.alarms import Alarm
from pipeline.report.charts import Chart

Cell = str | int | float | None

MAX_BYTES: Final = 10_000_000
"""A report is smaller than this; pictures that would not fit are left out, and their people say so."""
MOST_ROWS: Final = 2_000
"""Of a table; what it leaves out it says."""

_NO_ROOM: Final = "no room for pictures in this file"
_TAG_BYTES: Final = 400  # of a picture's tags and caption, twice, with something to spare
_SLACK: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure at the top; note: what stands beneath, such as what it was before."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """Rows of plain values; the page sorts them by any column."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG and what it shows."""

    caption: str
    jpeg: bytes

    @property
    def source(self) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Pictures that belong together, such as those of one person. note: in place of pictures, why there are none."""

    title: str
    facts: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A chapter: what it says in words, then its charts, tables and pictures. folded: (title, text to be opened)."""

    title: str
    text: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[PageTable, ...] = ()
    cards: tuple[Card, ...] = ()
    folded: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report. sentence: what changed. alarms: None where nothing could be compared."""

    title: str
    subtitle: str
    sentence: str
    tiles: tuple[Tile, ...]
    alarms: Sequence[Alarm] | None
    sections: tuple[Section, ...]


def render_page(page: Page) -> bytes:
    """The HTML file, UTF-8, below MAX_BYTES. Raises ValueError for a chart with a number that is not finite."""
    room = MAX_BYTES - len(_html(_with_pictures(page, 0))) - _SLACK
    return _html(_with_pictures(page, room))


def _with_pictures(page: Page, room: int) -> Page:
    """The page with the pictures of the first cards, as many as there is room for, bytes; the others say so."""

    def fitted(card: Card) -> Card:
        nonlocal room
        size = sum(len(picture.source) + _TAG_BYTES for picture in card.pictures)
        if size > room:
            return replace(card, pictures=(), note=_NO_ROOM)
        room -= size
        return card

    sections = (replace(section, cards=tuple(map(fitted, section.cards))) for section in page.sections)
    return replace(page, sections=tuple(sections))


def _html(page: Page) -> bytes:
    scripts = [_file("vendor", "echarts.min.js"), _file("templates", "page.js")]
    charts = [chart for section in page.sections for chart in section.charts]
    text = (
        _environment()
        .get_template("page.html")
        .render(
            page=page,
            style=_file("templates", "page.css"),
            scripts=scripts,
            # By their hashes: no other script runs, whatever a name or reason of others may hold.
            allowed=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
            charts=[{"option": chart.option, "roles": chart.roles} for chart in charts],  # in the order of the page
            most_rows=MOST_ROWS,
        )
    )
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate, which UTF-8 has no bytes for


def cell_text(value: Cell) -> str:
    """As a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("pipeline.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["cell"] = cell_text
    found.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return found


def _file(folder: str, name: str) -> str:
    return resources.files("pipeline.report").joinpath(folder, name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
