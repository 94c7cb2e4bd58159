"""Fig. 4 of the paper: test AUC against the number of labelled anomalies, a line a type count.

The lines of the label-budget figure (the paper's Fig. 4), however its page is laid out.

A figure as one HTML file that needs nothing else, not even a network.
"""

from html import escape
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go

from hpsearch.evaluation.label_budget.curves import BudgetCurves
from hpsearch.io.files import write_text_atomic
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


def write_page(path: Path, figure: go.Figure) -> None:
    """Write the figure with the plotting library in the same file, whole or not at all."""
    # A fixed id, for plotly's random one would make every file differ.
    html = figure.to_html(include_plotlyjs=True, div_id="figure", config={"displaylogo": False})
    write_text_atomic(path, html)


_OF = {"final": "models trained on all normals", "folds": "models of the folds"}


def budget_figure(curves: BudgetCurves, name: str) -> go.Figure:
    """Draw the curves; bars are one standard deviation over the draws.

    A hollow marker says that not all types hold that many examples, and it is drawn from those
    that do.

    Args:
        curves: what was computed.
        name: of the study, for the title.
    """
    figure = draw_lines(_budget(curves))
    _lay_out(figure, curves, name)
    return figure


def _budget(curves: BudgetCurves) -> Budget:
    counts = sorted({point.cell.n_types for point in curves.points})
    lines = tuple(_line(curves, n_types) for n_types in counts)
    return Budget(lines, curves.best, curves.worst, curves.question.repeats, curves.models)


def _line(curves: BudgetCurves, n_types: int) -> Line:
    points = [point for point in curves.points if point.cell.n_types == n_types]
    return Line(
        n_types,
        examples=tuple(point.cell.n_examples for point in points),
        means=tuple(point.mean for point in points),
        stds=tuple(point.std or 0.0 for point in points),
        regrets=tuple(point.regret for point in points),
        hollow=tuple(point.cell.n_eligible < curves.n_types for point in points),
    )


def _lay_out(figure: go.Figure, curves: BudgetCurves, name: str) -> None:
    subtitle = (
        f"{curves.n_normal} normal and {curves.n_anomaly} anomalous test images; "
        f"{_OF[curves.models]}, {curves.n_models} of {curves.n_configurations} configurations; "
        f"mean and standard deviation over {curves.question.repeats} draws"
    )
    if curves.borrowed:
        subtitle += "; test images that a draw uses leave its figure"
    if any(point.cell.n_eligible < curves.n_types for point in curves.points):
        subtitle += "<br>hollow: drawn from the types that hold as many"
    figure.update_layout(
        template="plotly_white",
        height=680,  # px
        font={"size": 15},
        title={
            "text": f"What labelled anomalies buy: {escape(name)}",
            "subtitle": {"text": subtitle, "font": {"size": 13}},
        },
        xaxis={"title": "labelled anomalies that choose, in all"},
        yaxis={"title": "test ROC AUC of the chosen configuration", "tickformat": ".2f"},
        margin={"t": 130, "r": 40},
    )
