"""What a figure shows: its axes and marks, once, for every library that draws it.

A figure's file computes values and describes them here; `draw_plotly` makes of that what a page
shows, and `draw_matplotlib` a PNG. All texts are plain; `\\n` begins a new line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[float] | NDArray[np.float64]
"""Numbers along an axis; NaN leaves a gap."""

Dash = Literal["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"]
Marker = Literal["circle", "square", "diamond", "triangle-up", "x", "star", "cross"]

# Okabe & Ito's palette, which colour-blind readers can tell apart; each with marks of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8A6FDF")
DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
MARKERS: tuple[Marker, ...] = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "x",
    "star",
    "cross",
)
NEUTRAL = "#808080"
"""As far from white as from black: of what is no value, such as the line of chance."""


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        title: what it measures, with its unit; empty for none.
        ticks: texts by place; where there are none, the library finds round numbers.
        limits: its ends, None for those of what is drawn.
        is_log: whether it is logarithmic.
        is_whole: whether a fraction on it means nothing.
        is_hidden: whether nothing of it is seen.
        has_grid: whether lines of its ticks go through the figure, where a library draws such.
    """

    title: str = ""
    ticks: Mapping[float, str] = field(default_factory=dict)
    limits: tuple[float, float] | None = None
    is_log: bool = False
    is_whole: bool = False
    is_hidden: bool = False
    has_grid: bool = True


@dataclass(frozen=True, eq=False)
class Line:
    """Points `(P,)`, with a line through them, a marker on each, or both.

    Attributes:
        x, y: of the points.
        name: in the legend; empty for none.
        colour: `#rrggbb`.
        dash: of the line, None for no line.
        width: of the line in px.
        marker: None for none.
        hollow: which markers are; empty for none.
        has_steps: whether a value holds until the next.
        errors: half the length of each point's bar; empty for none.
        hover: what the mouse finds at each point; empty for nothing.
    """

    x: Numbers
    y: Numbers
    name: str = ""
    colour: str = COLOURS[0]
    dash: Dash | None = "solid"
    width: float = 2.0
    marker: Marker | None = None
    hollow: Sequence[bool] = ()
    has_steps: bool = False
    errors: Numbers = ()
    hover: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Area:
    """What an outline `(P,)` encloses.

    Attributes:
        x, y: corners of the outline.
        colour: `#rrggbb`.
        opacity: share of what is behind it that it hides.
        width: of the outline in px, 0 for none.
    """

    x: Numbers
    y: Numbers
    colour: str
    opacity: float
    width: float = 0.0


@dataclass(frozen=True)
class Rule:
    """A line across the figure at one value, of y or, where it is upright, of x.

    Attributes:
        value: where.
        is_upright: whether it goes from the bottom to the top.
        name: in the legend; empty for none.
        label: at the upper end of an upright one; empty for none.
        dash, width: of the line, px.
    """

    value: float
    is_upright: bool = False
    name: str = ""
    label: str = ""
    dash: Dash = "solid"
    width: float = 1.0


@dataclass(frozen=True)
class Note:
    """A text that begins beside a place.

    Attributes:
        x, y: the place, in values of the axes.
        text: on one line.
    """

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Bars:
    """Bars from the left, the first on top.

    Attributes:
        names: of the bars.
        values: as many.
        texts: at their ends, as many.
    """

    names: Sequence[str]
    values: Sequence[float]
    texts: Sequence[str]


@dataclass(frozen=True)
class Cells:
    """A grid of R rows and C columns of shades, the first row on top.

    Attributes:
        rows, columns: names, `R` and `C` of them.
        values: `(R, C)`, None where there is none.
        texts: `(R, C)`, written in the cells.
        name: of the values, beside their scale.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    texts: Sequence[Sequence[str]]
    name: str


Mark = Line | Area | Rule | Note | Bars | Cells


@dataclass(frozen=True)
class Drawing:
    """A figure; later marks lie over earlier ones.

    Attributes:
        marks: what is drawn.
        x, y: its axes.
        height: px of a page that is about 1,000 px wide.
        title: of a figure that stands alone; empty where a caption says it.
        subtitle: below the title.
        is_square: whether a unit of x is as long as one of y.
    """

    marks: Sequence[Mark]
    x: Axis = Axis()
    y: Axis = Axis()
    height: int = 420
    title: str = ""
    subtitle: str = ""
    is_square: bool = False
