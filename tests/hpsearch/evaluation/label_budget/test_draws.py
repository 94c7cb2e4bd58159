import numpy as np
import pandas as pd
import pytest

from hpsearch.evaluation.label_budget.cells import BudgetCell, Orders, plan_cells
from hpsearch.protocol.labels import LabelBudget, draw_labelled

SIZES = {"scratch": 12, "blob": 9, "crack": 15}
REPEATS, SEED = 40, 3


@pytest.fixture
def table() -> pd.DataFrame:
    kinds = [kind for kind, size in SIZES.items() for _ in range(size)]
    kinds = list(np.random.default_rng(0).permutation(kinds))
    rows = {"label": [0, *[1] * len(kinds)], "split": "train", "anomaly_type": ["", *kinds]}
    return pd.DataFrame(rows)


def _orders(table: pd.DataFrame, deepest: int = 15) -> Orders:
    return Orders(table["anomaly_type"][1:], repeats=REPEATS, seed=SEED, deepest=deepest)


@pytest.mark.parametrize(
    ("n_types", "n_examples"), [(1, 1), (1, 9), (2, 5), (2, 18), (3, 3), (3, 26)]
)
def test_a_draw_is_the_one_that_a_study_would_make(
    n_types: int, n_examples: int, table: pd.DataFrame
) -> None:
    """With the seed of the repeat, image by image in the same order."""
    (cell,) = plan_cells(list(SIZES.values()), types=(n_types,), examples=(n_examples,))
    orders = _orders(table)
    draws = orders.draw(cell)
    for repeat, seed in enumerate(np.random.SeedSequence(SEED).generate_state(REPEATS)):
        drawn = draw_labelled(table, LabelBudget(n_types, n_examples), seed=int(seed))
        np.testing.assert_array_equal(draws.selected[repeat] + 1, drawn.positions)
        assert tuple(orders.names[draws.types[repeat]]) == drawn.types


def test_a_draw_passes_over_types_that_hold_too_few(table: pd.DataFrame) -> None:
    draws = _orders(table).draw(BudgetCell(n_types=1, n_examples=13, n_eligible=1))
    kinds = table["anomaly_type"].to_numpy()[1:][draws.selected]
    assert set(kinds.ravel()) == {"crack"}


def test_of_one_repeat_more_labels_contain_fewer(table: pd.DataFrame) -> None:
    orders = _orders(table)
    few, many = (orders.draw(BudgetCell(*cell, 3)).selected for cell in ((1, 4), (2, 16)))
    for fewer, more in zip(few, many, strict=True):
        assert set(fewer) < set(more)
        assert len(set(more)) == 16


def test_no_more_images_are_kept_than_are_drawn(table: pd.DataFrame) -> None:
    cell = BudgetCell(2, 8, 3)
    np.testing.assert_array_equal(
        _orders(table, deepest=4).draw(cell).selected, _orders(table).draw(cell).selected
    )
