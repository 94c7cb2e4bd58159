import pytest

from hpsearch.evaluation.label_budget.cells import BudgetCell
from hpsearch.evaluation.label_budget.curves import BudgetCurves, Point, advice, claim
from hpsearch.evaluation.label_budget.simulation import Question

BEST = 0.9


def _curves(regrets: dict[tuple[int, int], float], eligible: int = 5) -> BudgetCurves:
    points = tuple(
        Point(BudgetCell(*cell, eligible), BEST - regret, 0.01, 0.8, 0.9, regret, ((0, 7),))
        for cell, regret in regrets.items()
    )
    return BudgetCurves(points, "final", BEST, 0.5, 4, 4, 5, 30, 20, False, Question())


@pytest.mark.parametrize(
    ("regrets", "said"),
    [
        (
            {(1, 20): 0.012, (1, 50): 0.004},
            "with 20 examples of 1 type the choice loses 0.012 of test AUC on average; "
            "50 examples of 1 type would lose 0.004",
        ),
        (  # fewer labels that bring more than half of what the most would
            {(1, 20): 0.1, (1, 50): 0.09, (2, 50): 0.03, (2, 100): 0.02},
            "with 20 examples of 1 type the choice loses 0.100 of test AUC on average; "
            "50 examples of 2 types would lose 0.030",
        ),
        (
            {(1, 20): 0.012, (1, 50): 0.02, (1, 5): 0.001},
            "with 20 examples of 1 type the choice loses 0.012 of test AUC on average; "
            "more labels, up to those asked about, would not help",
        ),
        (
            {(1, 10): 0.05, (1, 20): 0.0},
            "with 20 examples of 1 type the choice is as good as the best; no more are needed",
        ),
        (
            {(1, 1): 0.05, (1, 5): 0.03},
            "with 5 examples of 1 type the choice loses 0.030 of test AUC on average; "
            "more labels, up to those asked about, would not help",
        ),
    ],
)
def test_advice(regrets: dict[tuple[int, int], float], said: str) -> None:
    assert advice(_curves(regrets), n_types=1, n_examples=20) == said


def test_advice_does_not_compare_draws_from_other_types() -> None:
    few = _curves({(1, 20): 0.05})
    other = _curves({(1, 50): 0.0}, eligible=2)
    both = BudgetCurves(**(vars(few) | {"points": few.points + other.points}))
    assert "would not help" in advice(both, n_types=1, n_examples=20)


@pytest.mark.parametrize(
    ("regrets", "said"),
    [
        ({(1, 20): 0.01}, "is 0.890, 0.010 below the best of the grid: this is within the paper's"),
        ({(1, 20): 0.05}, "0.050 below the best of the grid: this is 0.030 more than the paper's"),
        ({(1, 10): 0.05}, "no 20 examples of one type can be had here"),
    ],
)
def test_the_papers_claim(regrets: dict[tuple[int, int], float], said: str) -> None:
    assert said in claim(_curves(regrets))
