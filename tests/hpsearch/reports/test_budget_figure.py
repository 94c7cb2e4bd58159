from pathlib import Path

import pytest

from hpsearch.errors import StudyError
from hpsearch.evaluation.label_budget.cells import BudgetCell
from hpsearch.evaluation.label_budget.curves import BudgetCurves, Point
from hpsearch.evaluation.label_budget.simulation import Question
from hpsearch.reports.budget_figure import budget_block, budget_drawing, read_budget
from hpsearch.reports.document import Figure, Text
from hpsearch.reports.draw_plotly import plotly_figure


def _point(n_types: int, n_examples: int, mean: float, eligible: int = 3) -> Point:
    return Point(BudgetCell(n_types, n_examples, eligible), mean, 0.01, 0.8, 0.9, 0.1, ((0, 7),))


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
    one, two = plotly_figure(budget_drawing(curves, "study")).data
    assert (one.name, two.name) == ("1 anomaly type", "2 anomaly types")
    assert (list(one.y), list(two.y)) == ([0.7, 0.75], [0.8, 0.85])
    assert list(two.error_y.array) == [0.01, 0.01]
    assert list(two.x) == pytest.approx([10, 50], rel=0.05)
    assert one.x[1] < two.x[0], "bars beside each other"
    assert one.line.color != two.line.color


def test_a_point_from_fewer_types_is_hollow(curves: BudgetCurves) -> None:
    one, two = plotly_figure(budget_drawing(curves, "study")).data
    assert not any(symbol.endswith("-open") for symbol in one.marker.symbol)
    assert [symbol.endswith("-open") for symbol in two.marker.symbol] == [False, True]


def test_best_and_worst_are_dashed_and_the_title_says_what_it_is_of(curves: BudgetCurves) -> None:
    layout = plotly_figure(budget_drawing(curves, "<b>mine")).layout
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


CSV = """n_types,n_examples,drawn_from_types,repeats,mean,std,regret,best,worst,models
1,5,3,7,0.8,0.1,0.15,0.95,0.5,final
1,20,2,7,0.9,,0.05,0.95,0.5,final
2,5,3,7,0.85,0.05,0.1,0.95,0.5,final
"""


def test_numbers_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "label_budget.csv").write_text(CSV)
    found = read_budget(tmp_path)
    assert found is not None
    assert [line.n_types for line in found.lines] == [1, 2]
    assert found.lines[0].examples == (5, 20)
    assert found.lines[0].means == (0.8, 0.9)
    assert found.lines[0].stds == (0.1, 0.0)
    assert found.lines[0].regrets == (0.15, 0.05)
    assert [line.hollow for line in found.lines] == [(False, True), (False,)]
    assert (found.best, found.worst, found.repeats) == (0.95, 0.5, 7)
    block = budget_block(found)
    assert isinstance(block, Figure)
    assert "1 anomaly type 0.900, 2 anomaly types 0.850" in block.alt
    assert "Hollow: drawn from the types that hold as many" in block.caption


def test_a_study_that_was_not_asked_says_how(tmp_path: Path) -> None:
    assert read_budget(tmp_path) is None
    assert isinstance(budget_block(None), Text)


def test_damaged_numbers_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "fig4.csv").write_text("n_types,x\n1,2\n")
    with pytest.raises(StudyError, match=r"^.*fig4\.csv: damaged .*; delete it or make it again$"):
        read_budget(tmp_path)
