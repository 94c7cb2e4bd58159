import pytest

from hpsearch.errors import DataError, SpecError
from hpsearch.evaluation.label_budget.cells import BudgetCell, plan_cells

SIZES = (77, 55, 39, 21, 67)


def _pairs(cells: tuple[BudgetCell, ...]) -> list[tuple[int, int]]:
    return [(cell.n_types, cell.n_examples) for cell in cells]


def test_the_usual_cells_are_those_that_the_data_fills() -> None:
    of_one = [(1, 1), (1, 5), (1, 10), (1, 20), (1, 50)]  # none of the types holds 100
    of_two = [(2, 5), (2, 10), (2, 20), (2, 50), (2, 100)]  # one example is not of two types
    of_four = [(4, 5), (4, 10), (4, 20), (4, 50), (4, 100)]
    assert _pairs(plan_cells(SIZES)) == of_one + of_two + of_four


@pytest.mark.parametrize(
    ("n_types", "n_examples", "n_eligible"), [(1, 20, 5), (1, 22, 4), (2, 100, 3), (4, 100, 4)]
)
def test_a_cell_draws_from_types_that_hold_an_even_share(
    n_types: int, n_examples: int, n_eligible: int
) -> None:
    (cell,) = plan_cells(SIZES, types=(n_types,), examples=(n_examples,))
    assert cell.n_eligible == n_eligible


def test_combinations_that_cannot_be_are_left_out_beside_ones_that_can() -> None:
    assert _pairs(plan_cells(SIZES, types=(1, 3), examples=(2, 90))) == [(1, 2), (3, 90)]


def test_parted_examples_reach_every_fold() -> None:
    assert _pairs(plan_cells(SIZES, types=(1,), n_folds=3)) == [(1, 5), (1, 10), (1, 20), (1, 50)]


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"types": (6,)}, DataError, r"^--types: 6 asked for, the data has 5; lower it$"),
        ({"types": (0,)}, SpecError, r"^--types: 0 is too few"),
        ({"examples": (0, 5)}, SpecError, r"^--examples: 0 is too few"),
        ({"types": (2, 4), "examples": (1,)}, SpecError, r"^--examples: 1 is too few for 2 types"),
        (
            {"types": (1,), "examples": (78,)},
            DataError,
            r"; --types 1 hold 77, spread evenly;",
        ),
        ({"types": (5, 1), "examples": (106,)}, DataError, r"; --types 1,5 hold 105, spread"),
        (
            {"examples": (2,), "n_folds": 3},
            SpecError,
            r"^--examples: 2 is too few to part between 3",
        ),
    ],
)
def test_what_no_draw_can_be_is_one_line(asked: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        plan_cells(SIZES, **asked)


@pytest.mark.parametrize("sizes", [(), (2,)])
def test_data_with_hardly_an_anomaly_is_one_line(sizes: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"^labelled anomalies: "):
        plan_cells(sizes, n_folds=3)
