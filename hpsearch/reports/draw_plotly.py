"""Draw a figure with plotly, for a page: of the report, of its own, or the dashboard's."""

from html import escape
from typing import Any

import plotly.graph_objects as go

from hpsearch.reports.drawing import NEUTRAL, Area, Axis, Bars, Cells, Drawing, Line, Note, Rule

_FEW = 12  # whole numbers that each get a tick of their own


def plotly_figure(drawing: Drawing) -> go.Figure:
    """The figure; one without a title leaves backgrounds and text colours to the page around it."""
    figure = go.Figure()
    for mark in drawing.marks:
        match mark:
            case Line():
                figure.add_trace(_line(mark))
            case Area():
                red, green, blue = bytes.fromhex(mark.colour.removeprefix("#"))
                figure.add_scatter(
                    x=mark.x,
                    y=mark.y,
                    mode="lines" if mark.width else "none",
                    line={"color": mark.colour, "width": mark.width},
                    fill="toself",
                    fillcolor=f"rgba({red},{green},{blue},{mark.opacity})",
                    hoverinfo="skip",
                    showlegend=False,
                )
            case Bars():
                figure.add_bar(
                    x=mark.values,
                    y=list(map(shown, mark.names)),
                    orientation="h",
                    marker={"color": Line.colour},
                    text=list(map(shown, mark.texts)),
                    hoverinfo="skip",
                    showlegend=False,
                )
            case Cells():
                figure.add_heatmap(
                    x=list(map(shown, mark.columns)),
                    y=list(map(shown, mark.rows)),
                    z=mark.values,
                    text=[list(map(shown, row)) for row in mark.texts],
                    texttemplate="%{text}",
                    hoverinfo="skip",
                    colorscale="Cividis",  # even in lightness, and for colour-blind readers too
                    colorbar={"title": {"text": shown(mark.name), "side": "right"}},
                )
            case Rule():
                _add_rule(figure, mark)
            case Note():
                figure.add_annotation(
                    x=mark.x,
                    y=mark.y,
                    text=f"<b>{shown(mark.text)}</b>",
                    showarrow=False,
                    xanchor="left",
                    xshift=6,  # px
                )
    figure.update_layout(_ALONE if drawing.title else _WITHIN, height=drawing.height)
    if drawing.title:
        subtitle = {"text": shown(drawing.subtitle), "font": {"size": 13}}
        figure.update_layout(title={"text": shown(drawing.title), "subtitle": subtitle})
    figure.update_xaxes(_axis(drawing.x, drawing))
    figure.update_yaxes(_axis(drawing.y, drawing))
    if any(isinstance(mark, Rule) and mark.label for mark in drawing.marks):
        figure.update_layout(margin={"t": 36})
    if any(isinstance(mark, Bars | Cells) for mark in drawing.marks):
        figure.update_yaxes(autorange="reversed", type="category")
    if drawing.is_square:
        figure.update_yaxes(scaleanchor="x")
    return figure


def shown(text: object) -> str:
    """A plain text as plotly shows it, which takes some HTML for its own."""
    return escape(str(text)).replace("\n", "<br>")


def _line(mark: Line) -> go.Scatter:
    modes = [name for name, there in (("lines", mark.dash), ("markers", mark.marker)) if there]
    symbols = [f"{mark.marker}-open" if hollow else mark.marker for hollow in mark.hollow]
    return go.Scatter(
        x=mark.x,
        y=mark.y,
        mode="+".join(modes),
        name=shown(mark.name),
        showlegend=bool(mark.name),
        line={
            "color": mark.colour,
            "width": mark.width,
            "dash": mark.dash,
            "shape": "hv" if mark.has_steps else "linear",
        },
        marker={
            "symbol": symbols or mark.marker,
            "size": 9,
            "line": {"width": 2 if any(mark.hollow) else 0, "color": mark.colour},
        },
        error_y={"array": mark.errors, "thickness": 1.5, "width": 5} if len(mark.errors) else None,
        text=list(map(shown, mark.hover)) or None,
        hovertemplate="%{text}<extra></extra>" if mark.hover else None,
        hoverinfo=None if mark.hover else "skip",
    )


def _add_rule(figure: go.Figure, mark: Rule) -> None:
    add = figure.add_vline if mark.is_upright else figure.add_hline
    label: dict[str, Any] = {}
    if mark.label:
        label["annotation"] = {"text": shown(mark.label), "y": 1, "yanchor": "bottom"}
        label["annotation_position"] = "top right"
    line = {"color": NEUTRAL, "width": mark.width, "dash": mark.dash}
    add(mark.value, line=line, name=shown(mark.name), showlegend=bool(mark.name), **label)


_WITHIN: dict[str, Any] = {
    "template": "none",
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"size": 14},
    "margin": {"t": 16, "r": 16, "b": 48, "l": 56},
    "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
}
"""The look of a figure within a report: the page's script sets colours of texts and lines."""
_ALONE: dict[str, Any] = {
    "template": "plotly_white",
    "font": {"size": 15},
    "margin": {"t": 130, "r": 40},
}
"""The look of a figure that is a page of its own."""


def _axis(axis: Axis, drawing: Drawing) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "title": {"text": shown(axis.title)},
        "automargin": True,
        "zeroline": False,
        "visible": not axis.is_hidden,
        "showgrid": axis.has_grid,
        "type": "log" if axis.is_log else None,
        "range": axis.limits,
    }
    if axis.ticks:
        settings |= {
            "tickvals": list(axis.ticks),
            "ticktext": list(map(shown, axis.ticks.values())),
        }
    # Between few whole numbers plotly would write halves.
    lines = (mark for mark in drawing.marks if isinstance(mark, Line))
    if axis.is_whole and max(max(mark.x) for mark in lines) < _FEW:
        settings["dtick"] = 1
    return settings
