"""A report as one HTML file that needs nothing else, not even a network."""

import base64
from importlib.resources import files
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hpsearch.io.files import write_text_atomic
from hpsearch.reports.document import Document, Figure

_TEMPLATES = "templates"


def write_html(path: Path, document: Document) -> None:
    """Write the page, whole or not at all."""
    write_text_atomic(path, page(document))


def page(document: Document) -> str:
    """The page. Every text is escaped; the plotting library is in it once."""
    environment = Environment(
        loader=PackageLoader("hpsearch.reports", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "figure_json": _figure_json}
    has_figures = any(
        isinstance(block, Figure) for section in document.sections for block in section.blocks
    )
    return environment.get_template("report.html.j2").render(
        document=document,
        style=_own("report.css"),
        script=_own("report.js"),
        plotly=Markup(get_plotlyjs()) if has_figures else "",
    )


def _own(name: str) -> Markup:
    return Markup((files("hpsearch.reports") / _TEMPLATES / name).read_text(encoding="utf-8"))


def _data_uri(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def _figure_json(figure: go.Figure) -> Markup:
    """JSON that no text within can end."""
    json = str(figure.to_json())
    for character in "<>&\u2028\u2029":
        json = json.replace(character, f"\\u{ord(character):04x}")
    return Markup(json)
