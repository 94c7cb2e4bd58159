"""Fig. 4 of the paper: test AUC against the number of labelled anomalies, a line a type count."""

from html import escape

import plotly.graph_objects as go

from hpsearch.label_budget.curves import BudgetCurves
from hpsearch.reports.budget_lines import Budget, Line, draw_lines

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
