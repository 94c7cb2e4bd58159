from pathlib import Path

import plotly.graph_objects as go
import pytest

from hpsearch.evaluation.label_budget.cells import Cell
from hpsearch.evaluation.label_budget.curves import BudgetCurves, Point
from hpsearch.evaluation.label_budget.simulation import Question
from hpsearch.reports.budget_figure import budget_figure, write_page


def _point(n_types: int, n_examples: int, mean: float, eligible: int = 3) -> Point:
    return Point(Cell(n_types, n_examples, eligible), mean, 0.01, 0.8, 0.9, 0.1, ((0, 7),))


@pytest.fixture
def curves() -> BudgetCurves:
    points = (
        _point(1, 1, 0.7),
        _point(1, 10, 0.75),
        _point(2, 10, 0.8),
        _point(2, 50, 0.85, eligible=2),
    )
    return BudgetCurves(points, "folds", 0.9, 0.5, 4, 6, 3, 30, 20, False, Question())


def test_a_line_a_type_count_with_bars_of_a_standard_deviation(curves: BudgetCurves) -> None:
    one, two = budget_figure(curves, "study").data
    assert (one.name, two.name) == ("1 anomaly type", "2 anomaly types")
    assert (list(one.y), list(two.y)) == ([0.7, 0.75], [0.8, 0.85])
    assert list(two.error_y.array) == [0.01, 0.01]
    assert list(two.x) == pytest.approx([10, 50], rel=0.05)
    assert one.x[1] < two.x[0], "bars beside each other"
    assert one.line.color != two.line.color


def test_a_point_from_fewer_types_is_hollow(curves: BudgetCurves) -> None:
    one, two = budget_figure(curves, "study").data
    assert not any(symbol.endswith("-open") for symbol in one.marker.symbol)
    assert [symbol.endswith("-open") for symbol in two.marker.symbol] == [False, True]


def test_best_and_worst_are_dashed_and_the_title_says_what_it_is_of(curves: BudgetCurves) -> None:
    layout = budget_figure(curves, "<b>mine").layout
    assert [(shape.y0, shape.line.dash) for shape in layout.shapes] == [
        (0.9, "dash"),
        (0.5, "dash"),
    ]
    assert [shape.name for shape in layout.shapes if shape.showlegend] == [
        "best of the grid 0.900",
        "worst of the grid 0.500",
    ]
    assert "&lt;b&gt;mine" in layout.title.text
    said = layout.title.subtitle.text
    assert "30 normal and 20 anomalous" in said
    assert "models of the folds, 4 of 6 configurations" in said
    assert layout.xaxis.type == "log"
    assert list(layout.xaxis.tickvals) == [1, 10, 50]


def test_a_page_needs_no_network_and_is_the_same_each_time(tmp_path: Path) -> None:
    figure = go.Figure(go.Scatter(x=[1], y=[2]))
    for name in ("one.html", "two.html"):
        write_page(tmp_path / "report" / name, figure)
    one, two = (tmp_path / "report" / name for name in ("one.html", "two.html"))
    assert one.read_bytes() == two.read_bytes()
    assert "<script src=" not in one.read_text()
    assert "Plotly.newPlot" in one.read_text()
