"""The lines of the label-budget figure (the paper's Fig. 4), however its page is laid out."""

from itertools import cycle
from typing import NamedTuple

import plotly.graph_objects as go

from hpsearch.reports.look import COLOURS, GREY, MARKERS

_ASIDE = 1.06  # from one line to the next, on the logarithmic axis


class Line(NamedTuple):
    """Test AUC by the number of labelled anomalies, of one number of types.

    Attributes:
        examples, means, stds, regrets: equally long; the spread is 0 where there is one draw.
        hollow: which are drawn from fewer types than there are, for the others hold too few.
    """

    n_types: int
    examples: tuple[int, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    regrets: tuple[float, ...]
    hollow: tuple[bool, ...]

    @property
    def name(self) -> str:
        """As the legend has it."""
        return f"{self.n_types} anomaly type{'' if self.n_types == 1 else 's'}"


class Budget(NamedTuple):
    """Lines, and the best and the worst of the configurations."""

    lines: tuple[Line, ...]
    best: float
    worst: float
    repeats: int
    models: str


def draw_lines(budget: Budget) -> go.Figure:
    """A line a number of types, bars of one standard deviation; best and worst are dashed."""
    figure = go.Figure()
    styles = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
    for place, (line, style) in enumerate(zip(budget.lines, styles, strict=False)):
        # Beside each other, for bars of several lines would hide each other.
        aside = _ASIDE ** (place - (len(budget.lines) - 1) / 2)
        figure.add_trace(_trace(line, *style, aside=aside))
    for value, what in ((budget.best, "best"), (budget.worst, "worst")):
        figure.add_hline(
            value,
            line={"dash": "dash", "color": GREY, "width": 1.5},
            name=f"{what} of the grid {value:.3f}",
            showlegend=True,
        )
    counts = sorted({count for line in budget.lines for count in line.examples})
    return figure.update_xaxes(type="log", tickvals=counts)


def _trace(line: Line, colour: str, marker: str, *, aside: float) -> go.Scatter:
    return go.Scatter(
        x=[count * aside for count in line.examples],
        y=line.means,
        error_y={"array": line.stds, "thickness": 1.5, "width": 5},
        customdata=list(zip(line.examples, line.stds, line.regrets, strict=True)),
        hovertemplate="%{customdata[0]} examples: %{y:.3f} ± %{customdata[1]:.3f}, "
        "%{customdata[2]:.3f} below the best",
        mode="lines+markers",
        name=line.name,
        line={"color": colour, "width": 2.5},
        marker={
            "symbol": [f"{marker}-open" if empty else marker for empty in line.hollow],
            "size": 10,
            "line": {"width": 2, "color": colour},
        },
    )
