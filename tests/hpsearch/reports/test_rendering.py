"""Documents of hostile texts, as a page and as Markdown."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hpsearch.errors import SpecError
from hpsearch.reports import render
from hpsearch.reports.document import (
    Code,
    Document,
    Figure,
    Picture,
    PictureRow,
    Section,
    Table,
    Text,
)
from hpsearch.reports.drawing import Axis, Drawing, Line
from hpsearch.reports.render import markdown, page, write_drawing, write_markdown

EVIL = "</script><script>alert(1)</script><img src=http://x.example/a onerror=alert(1)>"


def _document(folder: Path) -> Document:
    picture = folder / "a.png"
    Image.new("RGB", (4, 4)).save(picture)
    table = Table(EVIL, ("a", EVIL), ((EVIL, "1"), ("b", EVIL)), ((0.5,), (None,)))
    figure = Figure(
        "roc",
        EVIL,
        EVIL,
        Drawing((Line([1], [2], EVIL, hover=[EVIL]),), Axis(EVIL, ticks={1: EVIL}), title=EVIL),
        table,
    )
    pictures = PictureRow(EVIL, (Picture(picture, None, EVIL, f'"{EVIL}'),))
    blocks = (Text(EVIL), Code(EVIL, EVIL), table, figure, pictures)
    return Document(EVIL, (EVIL,), (Section("one", EVIL, blocks),))


class _Tags(HTMLParser):
    """What a browser would find."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


def _tags(html: str) -> list[tuple[str, dict[str, Any]]]:
    parser = _Tags()
    parser.feed(html)
    return parser.found


def test_texts_of_others_stay_texts(tmp_path: Path) -> None:
    tags = _tags(page(_document(tmp_path)))
    assert [attributes for tag, attributes in tags if tag == "script"] == [
        {"type": "application/json", "class": "figure", "data-for": "figure-roc"},
        {},  # plotly
        {},  # ours
    ]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]


def test_nothing_is_loaded(tmp_path: Path) -> None:
    tags = _tags(page(_document(tmp_path)))
    sources = [value for _, a in tags for name, value in a.items() if name in ("src", "href")]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in sources)
    assert not [tag for tag, _ in tags if tag in ("link", "iframe", "object", "base")]
    policy = next(a["content"] for tag, a in tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")


def test_the_page_can_be_read_without_seeing_it(tmp_path: Path) -> None:
    html = page(_document(tmp_path))
    tags = _tags(html)
    assert ("a", {"class": "skip", "href": "#content"}) in tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels == [1, 2, 2, 3]
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    assert html.count("<caption>") == html.count("<table>") == 2  # one of the figure's numbers
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")
    assert all(a["aria-label"] for tag, a in tags if a.get("role") in ("img", "region"))


def test_the_library_is_there_once_and_only_for_figures(tmp_path: Path) -> None:
    document = _document(tmp_path)
    html = page(document)
    assert html.count("Plotly.newPlot") == 1
    assert len(html.encode()) < 6_000_000
    assert len(page(Document("a", (), (Section("b", "c", (Text("d"),)),)))) < 20_000


def test_markdown_holds_no_markup_of_others(tmp_path: Path) -> None:
    write_markdown(tmp_path / "report.md", _document(tmp_path))
    written = (tmp_path / "report.md").read_text()
    fenced = re.sub(r"^```\n.*?^```$", "", written, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<", fenced)
    assert "![" in written
    links = re.findall(r"(?<!\\)\]\(([^)]*)\)", written)
    assert links == ["report_figures/roc.png", "a.png"]
    assert all((tmp_path / link).is_file() for link in links)


def test_a_fence_is_longer_than_those_within() -> None:
    document = Document("a", (), (Section("b", "c", (Code("d", "````\nx"),)),))
    assert "`````\n````\nx\n`````" in markdown(document, Path(), "figures")


def test_markdown_needs_matplotlib_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"^--format md: matplotlib is not installed; pip [^\n]*$"):
        render.require_matplotlib()
    assert list(tmp_path.iterdir()) == []


def test_a_page_needs_no_network_and_is_the_same_each_time(tmp_path: Path) -> None:
    drawing = Drawing((Line([1], [2]),), title="a")
    for name in ("one.html", "two.html"):
        write_drawing(tmp_path / "report" / name, drawing)
    one, two = (tmp_path / "report" / name for name in ("one.html", "two.html"))
    assert one.read_bytes() == two.read_bytes()
    assert "<script src=" not in one.read_text()
    assert "Plotly.newPlot" in one.read_text()
