"""Draw a figure with matplotlib (extra `png`), for Markdown and for pictures in the dashboard."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsearch.reports.drawing import (
    COLOURS,
    NEUTRAL,
    Area,
    Axis,
    Bars,
    Cells,
    Dash,
    Drawing,
    Line,
    Marker,
    Note,
    Rule,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _LOWEST = 7.0, 2.4  # inches
_PX_PER_INCH = 100  # of a drawing's height
_DOTS_PER_INCH = 120
_NO_FORMULAS: dict[Any, Any] = {"text.parse_math": False}  # a text of others may hold any dollar
_LINE = 80  # characters of a legend's names that fit side by side
_DASHES: dict[Dash, Any] = {
    "solid": "-",
    "dash": "--",
    "dot": ":",
    "dashdot": "-.",
    "longdash": (0, (8, 3)),
    "longdashdot": (0, (8, 3, 2, 3)),
}
_MARKERS: dict[Marker, str] = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "x": "X",
    "star": "*",
    "cross": "P",
}


def png(drawing: Drawing) -> bytes:
    """The figure as the content of a PNG file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib import rc_context

    content = BytesIO()
    with rc_context(_NO_FORMULAS):
        matplotlib_figure(drawing).savefig(content, format="png")
    return content.getvalue()


def matplotlib_figure(drawing: Drawing) -> "Figure":
    """The figure, of no window and no global state.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    height = max(_LOWEST, drawing.height / _PX_PER_INCH)
    size = (height if drawing.is_square else _WIDTH, height)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
    with rc_context(_NO_FORMULAS):
        axes = figure.subplots()
        for mark in drawing.marks:
            _draw(mark, axes)
        _set_axis(axes, "x", drawing.x)
        _set_axis(axes, "y", drawing.y)
        if drawing.is_square:
            axes.set_aspect("equal")
        if drawing.title:
            axes.set_title("\n".join(filter(None, (drawing.title, drawing.subtitle))), fontsize=11)
        _, names = axes.get_legend_handles_labels()
        if names and drawing.is_square:
            axes.legend(loc="best", fontsize=9)
        elif names:
            columns = max(1, _LINE // (6 + max(map(len, names))))
            figure.legend(loc="outside upper left", ncols=columns, frameon=False)
    return figure


def _draw(mark: Any, axes: "Axes") -> None:
    match mark:
        case Line():
            _draw_line(mark, axes)
        case Area():
            axes.fill(mark.x, mark.y, color=mark.colour, alpha=mark.opacity, linewidth=0)
            if mark.width:
                axes.plot(mark.x, mark.y, color=mark.colour, linewidth=mark.width)
        case Bars():
            bars = axes.barh(list(mark.names), list(mark.values), color=COLOURS[0])
            axes.bar_label(bars, list(mark.texts), padding=3)
            axes.invert_yaxis()
            axes.margins(x=0.1)
        case Cells():
            values = np.array(mark.values, dtype=np.float64)  # None becomes NaN
            image = axes.imshow(values, cmap="cividis", aspect="auto")
            axes.figure.colorbar(image, label=mark.name)
            axes.set_xticks(range(len(mark.columns)), list(mark.columns))
            axes.set_yticks(range(len(mark.rows)), list(mark.rows))
            middle = (np.nanmin(values) + np.nanmax(values)) / 2
            for (row, column), value in np.ndenumerate(values):
                ink = "black" if value > middle else "white"
                text = mark.texts[row][column]
                axes.text(column, row, text, ha="center", va="center", color=ink)
        case Rule():
            style: dict[str, Any] = {"color": NEUTRAL, "ls": _DASHES[mark.dash], "lw": mark.width}
            (axes.axvline if mark.is_upright else axes.axhline)(
                mark.value, label=mark.name or None, **style
            )
            if mark.label:
                axes.annotate(
                    mark.label, (mark.value, 1), xycoords=("data", "axes fraction"), va="bottom"
                )
        case Note():
            paper = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
            axes.text(mark.x, mark.y, f" {mark.text}", weight="bold", va="center", bbox=paper)


def _draw_line(mark: Line, axes: "Axes") -> None:
    style: dict[str, Any] = {"color": mark.colour, "lw": mark.width}
    style["ls"] = _DASHES[mark.dash] if mark.dash else ""
    if mark.has_steps:
        style["drawstyle"] = "steps-post"
    marker = _MARKERS[mark.marker] if mark.marker else ""
    x, y = np.asarray(mark.x, dtype=np.float64), np.asarray(mark.y, dtype=np.float64)
    if len(mark.errors):
        axes.errorbar(x, y, mark.errors, color=mark.colour, ls="", capsize=3)
    axes.plot(x, y, marker=marker, label=mark.name or None, **style)
    if any(mark.hollow):
        hollow = np.asarray(mark.hollow)
        axes.plot(x[hollow], y[hollow], marker=marker, ls="", mec=mark.colour, mfc="white")


def _set_axis(axes: "Axes", which: str, axis: Axis) -> None:
    of_axes: Any = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}label": axis.title})
    if axis.is_log:
        axes.set(**{f"{which}scale": "log"})
    if axis.ticks:
        of_axes.set_ticks(list(axis.ticks), list(axis.ticks.values()))
        of_axes.set_ticks([], minor=True)
    elif axis.is_whole:
        axes.locator_params(axis=which, integer=True)  # type: ignore[arg-type]
    if axis.limits:
        axes.set(**{f"{which}lim": axis.limits})
    if axis.is_hidden:
        of_axes.set_ticks([])
