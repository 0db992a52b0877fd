"""A page is one inert file: nothing is fetched, no text of others is run, and it is never too large."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.report.alarms import Alarm
from pipeline.report.charts import AFTER, BEFORE, Series, bars, curves, distribution, ranges
from pipeline.report.page import MAX_BYTES, MOST_ROWS, Card, Page, PageTable, Picture, Section, Tile, render_page
from tests.repository import ROOT

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "<!--<script>",
    "</style><iframe src=https://example.com>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(4)",
    "\u202egnirts\u0000\u2028",
    "\udc80",
    "a" * 5000,
)


class Tags(HTMLParser):
    """What a browser would see of a page: tags with their attributes, and what scripts hold."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def made_page(words: tuple[str, ...] = ("plain",), cards: tuple[Card, ...] = ()) -> Page:
    """A page that holds these words wherever there may be any."""
    text = " ".join(words)
    edges = np.linspace(0.0, 1.0, 5)
    series = [Series(name=text, role=role, counts=np.arange(4)) for role in (BEFORE, AFTER)]
    charts = (
        distribution(text, text, edges, series),
        bars(text, words, [(text, AFTER, [1.0] * len(words))], note=text),
        ranges(text, words, [(text, AFTER, np.tile(np.arange(5.0), (len(words), 1)))], unit=text, low=0, high=9),
        curves(text, text, {word: [(0.0, 1.0), (1.0, 2.0)] for word in words}),
    )
    table = PageTable(title=text, columns=words, rows=[words, [1] * len(words), [None] * len(words)], note=text)
    section = Section(title=text, text=words, charts=charts, tables=(table,), cards=cards, folded=((text, text),))
    return Page(
        title=text,
        subtitle=text,
        sentence=text,
        tiles=(Tile(name=text, value=text, note=text),),
        alarms=[Alarm(what=text, where=text, found=text)] * 14,
        sections=(section,),
    )


@pytest.mark.parametrize("words", [*((word,) for word in HOSTILE), HOSTILE], ids=lambda words: str(len(words)))
def test_hostile_words_are_inert(words: tuple[str, ...]) -> None:
    card = Card(title=" ".join(words), facts=words, pictures=(Picture(" ".join(words), b"jpeg"),), note=words[0])
    plain = Card(title="plain", facts=("plain",) * len(words), pictures=(Picture("plain", b"jpeg"),), note="plain")
    found, expected = (
        Tags(render_page(made_page(words, (card,)))),
        Tags(render_page(made_page(("plain",) * len(words), (plain,)))),
    )
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in expected.tags]
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    assert found.scripts[1:] == expected.scripts[1:]
    assert json.loads(found.scripts[0])[0]["option"]["series"][0]["name"].encode("utf-8", "backslashreplace")


def test_a_hostile_name_is_shown_as_it_is() -> None:
    assert HOSTILE[0] in Tags(render_page(made_page(HOSTILE[:1]))).text


def test_the_policy_allows_the_scripts_of_the_page_and_no_network() -> None:
    page = Tags(render_page(made_page()))
    (policy,) = [a["content"] or "" for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    (allowed,) = re.findall("script-src ([^;]*)", policy)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts[1:]]
    assert allowed == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert page.tags[[tag for tag, _ in page.tags].index("script")][1]["type"] == "application/json"


def test_pictures_that_do_not_fit_are_left_out_and_said_so() -> None:
    cards = tuple(
        Card(title=f"person {i}", pictures=tuple(Picture(f"p{i}", bytes(100_000)) for _ in range(4))) for i in range(30)
    )
    page = render_page(made_page(cards=cards))
    assert 0.9 * MAX_BYTES < len(page) < MAX_BYTES
    found = Tags(page)
    pictures = sum(tag == "img" for tag, _ in found.tags)
    assert 0 < pictures < 120
    assert found.text.count("no room for pictures") == 30 - pictures // 4


def test_a_table_of_many_rows_says_what_it_leaves_out() -> None:
    page = made_page()
    table = PageTable(title="many", columns=("n",), rows=[[i] for i in range(MOST_ROWS + 5)])
    found = Tags(render_page(replace(page, sections=(Section(title="s", tables=(table,)),))))
    assert f"the first {MOST_ROWS} of {MOST_ROWS + 5} rows" in found.text
    assert sum(tag == "tr" for tag, _ in found.tags) == MOST_ROWS + 1


def test_charts_refuse_what_is_not_finite() -> None:
    bad = curves("c", "x", {"y": [(0.0, float("nan"))]})
    with pytest.raises(ValueError, match="JSON compliant"):
        render_page(
            Page(
                title="", subtitle="", sentence="", tiles=(), alarms=None, sections=(Section(title="", charts=(bad,)),)
            )
        )


def test_the_vendored_file_is_the_one_that_its_readme_names() -> None:
    folder = ROOT / "pipeline" / "report" / "vendor"
    digest = hashlib.sha256((folder / "echarts.min.js").read_bytes()).hexdigest()
    assert digest in (folder / "README.md").read_text()
