"""How the report's figures look: colours for light and dark, and one layout for all."""

from html import escape
from typing import Any

import plotly.graph_objects as go

# Okabe & Ito's palette, which colour-blind readers can tell apart; each with marks of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8A6FDF")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
GREY = "#808080"  # as far from white as from black

_PNG_DASHES = {
    "solid": "-",
    "dash": "--",
    "dot": ":",
    "dashdot": "-.",
    "longdash": (0, (8, 3)),
    "longdashdot": (0, (8, 3, 2, 3)),
}


def png_dash(dash: str) -> Any:
    """Matplotlib's line style for plotly's dash."""
    return _PNG_DASHES[dash]


def veil(colour: str, share: float) -> str:
    """A colour `#rrggbb` that lets what is behind it through but for a share."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def shown(text: object) -> str:
    """A text of others as plotly shows it, which takes some HTML for its own."""
    return escape(str(text))


def lay_out(figure: go.Figure, *, x: str, y: str, **more: Any) -> go.Figure:
    """Give a figure the titles of its axes and the look that all have.

    Backgrounds are left out: the page's script sets the colours of texts and lines by its own.
    """
    axis = {"automargin": True, "zeroline": False}
    figure.update_layout(
        template="none",
        height=420,  # px
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 14},
        margin={"t": 16, "r": 16, "b": 48, "l": 56},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        xaxis=axis | {"title": {"text": x}},
        yaxis=axis | {"title": {"text": y}},
    )
    figure.update_layout(more)
    return figure
