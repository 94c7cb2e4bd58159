"""A document as a page that needs nothing else, not even a network, or as Markdown."""

import base64
import os
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hpsearch.errors import SpecError
from hpsearch.io.files import atomic_path, write_text_atomic
from hpsearch.io.text import printable
from hpsearch.reports.document import Document, Figure
from hpsearch.reports.draw_matplotlib import png
from hpsearch.reports.draw_plotly import plotly_figure
from hpsearch.reports.drawing import Drawing

_TEMPLATES = "templates"


def write_html(path: Path, document: Document) -> None:
    """Write the page, whole or not at all."""
    write_text_atomic(path, page(document))


def write_drawing(path: Path, drawing: Drawing) -> None:
    """Write a page of one figure that has a title, whole or not at all."""
    # A fixed id, for plotly's random one would make every file differ.
    html = plotly_figure(drawing).to_html(
        include_plotlyjs=True, div_id="figure", config={"displaylogo": False}
    )
    write_text_atomic(path, html)


def page(document: Document) -> str:
    """The page. Every text is escaped; the plotting library is in it once."""
    has_figures = any(
        isinstance(block, Figure) for section in document.sections for block in section.blocks
    )
    filters: Mapping[str, Callable[..., str]] = {
        "data_uri": lambda picture: (
            f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
        ),
        "figure_json": _figure_json,
    }
    return _rendered(
        "report.html.j2",
        filters,
        autoescape=True,
        document=document,
        style=_own("report.css"),
        script=_own("report.js"),
        plotly=Markup(get_plotlyjs()) if has_figures else "",
    )


def write_markdown(path: Path, document: Document) -> None:
    """Write the text, and before it the figures as PNG files in `<stem>_figures/`.

    Raises:
        SpecError: matplotlib is not installed; nothing is written.
    """
    require_matplotlib()
    folder = path.with_name(f"{path.stem}_figures")
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                with atomic_path(folder / f"{block.name}.png") as partial:
                    partial.write_bytes(png(block.drawing))
    write_text_atomic(path, markdown(document, path.parent, folder.name))


def require_matplotlib() -> None:
    """Refuse to go on without it.

    Raises:
        SpecError: it is not there.
    """
    if find_spec("matplotlib") is None:
        raise SpecError(
            "--format md: matplotlib is not installed; pip install 'hpsearch[png]', or take "
            "--format html"
        )


def markdown(document: Document, place: Path, figures: str) -> str:
    """The Markdown, in which texts of others mean nothing but themselves.

    Args:
        document: to write.
        place: folder of the file, from which pictures are linked.
        figures: name of the folder of figures.
    """
    filters: Mapping[str, Callable[..., str]] = {
        "plain": _plain,
        "fenced": _fenced,
        "link": lambda picture: Path(os.path.relpath(picture, place)).as_posix(),
    }
    # `plain` escapes.
    return _rendered("report.md.j2", filters, autoescape=False, document=document, figures=figures)


def _rendered(
    template: str, filters: Mapping[str, Callable[..., str]], *, autoescape: bool, **values: Any
) -> str:
    environment = Environment(
        loader=PackageLoader("hpsearch.reports", _TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(template).render(**values)


def _own(name: str) -> Markup:
    return Markup((files("hpsearch.reports") / _TEMPLATES / name).read_text(encoding="utf-8"))


def _figure_json(drawing: Drawing) -> Markup:
    """JSON that no text within can end."""
    json = str(plotly_figure(drawing).to_json())
    for character in "<>&\u2028\u2029":
        json = json.replace(character, f"\\u{ord(character):04x}")
    return Markup(json)


def _plain(words: object) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|!~$&])", r"\\\1", printable(" ".join(str(words).split("\n"))))


def _fenced(words: str) -> str:
    longest = max((len(run) for run in re.findall("`+", words)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{words.rstrip()}\n{fence}"
