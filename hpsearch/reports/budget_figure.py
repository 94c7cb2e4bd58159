"""Fig. 4 of the paper: test AUC against the number of labelled anomalies, a line a type count."""

from html import escape
from itertools import cycle

import plotly.graph_objects as go

from hpsearch.label_budget.curves import BudgetCurves, Point

# Okabe & Ito's palette, which colour-blind readers can tell apart; each with a marker of its own.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")
_GREY = "#444444"
_ASIDE = 1.06  # from one line to the next, on the logarithmic axis
_OF = {"final": "models trained on all normals", "folds": "models of the folds"}


def budget_figure(curves: BudgetCurves, name: str) -> go.Figure:
    """Draw the curves; bars are one standard deviation over the draws.

    A hollow marker says that not all types hold that many examples, and it is drawn from those
    that do.

    Args:
        curves: what was computed.
        name: of the study, for the title.
    """
    figure = go.Figure()
    counts = sorted({point.cell.n_types for point in curves.points})
    styles = zip(cycle(_COLOURS), cycle(_MARKERS), strict=False)
    for place, (n_types, style) in enumerate(zip(counts, styles, strict=False)):
        points = [point for point in curves.points if point.cell.n_types == n_types]
        # Beside each other, for bars of several lines would hide each other.
        aside = _ASIDE ** (place - (len(counts) - 1) / 2)
        figure.add_trace(_line(points, curves.n_types, *style, aside=aside))
    for value, what in ((curves.best, "best"), (curves.worst, "worst")):
        figure.add_hline(
            value,
            line={"dash": "dash", "color": _GREY, "width": 1.5},
            name=f"{what} of the grid {value:.3f}",
            showlegend=True,
        )
    _lay_out(figure, curves, name)
    return figure


def _line(
    points: list[Point], n_types_there: int, colour: str, marker: str, *, aside: float
) -> go.Scatter:
    n_types = points[0].cell.n_types
    hollow = [point.cell.n_eligible < n_types_there for point in points]
    return go.Scatter(
        x=[point.cell.n_examples * aside for point in points],
        y=[point.mean for point in points],
        error_y={"array": [point.std or 0.0 for point in points], "thickness": 1.5, "width": 5},
        customdata=[(point.cell.n_examples, point.std or 0.0, point.regret) for point in points],
        hovertemplate="%{customdata[0]} examples: %{y:.3f} ± %{customdata[1]:.3f}, "
        "%{customdata[2]:.3f} below the best",
        mode="lines+markers",
        name=f"{n_types} anomaly type{'' if n_types == 1 else 's'}",
        line={"color": colour, "width": 2.5},
        marker={
            "symbol": [f"{marker}-open" if empty else marker for empty in hollow],
            "size": 10,
            "line": {"width": 2, "color": colour},
        },
    )


def _lay_out(figure: go.Figure, curves: BudgetCurves, name: str) -> None:
    counts = sorted({point.cell.n_examples for point in curves.points})
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
        xaxis={
            "title": "labelled anomalies that choose, in all",
            "type": "log",
            "tickvals": counts,
        },
        yaxis={"title": "test ROC AUC of the chosen configuration", "tickformat": ".2f"},
        margin={"t": 130, "r": 40},
    )
