from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from hpsearch.evaluation.label_budget.curves import BudgetCurves, budget_curves
from hpsearch.evaluation.label_budget.simulation import Question, simulate
from hpsearch.evaluation.label_budget.study_curves import curve_records, write_curves
from hpsearch.evaluation.stored_scores import StoredScores


@pytest.fixture
def curves(made: Callable[..., StoredScores]) -> Callable[[int], BudgetCurves]:
    scores = made()
    return lambda repeats: budget_curves(
        simulate(scores, Question(repeats=repeats), "shared"), scores, "folds"
    )


def test_the_file_holds_the_figures(tmp_path: Path, curves: Callable[[int], BudgetCurves]) -> None:
    computed = curves(7)
    write_curves(tmp_path / "report" / "label_budget.csv", computed)
    table = pd.read_csv(tmp_path / "report" / "label_budget.csv")
    records = pd.DataFrame(curve_records(computed))
    assert list(table) == list(records)
    numbers = [name for name in table if name not in ("models", "chosen")]
    pd.testing.assert_frame_equal(table[numbers], records[numbers], atol=1e-6)
    first = computed.points[0].chosen
    assert table["chosen"][0] == " ".join(f"{trial}:{times}" for trial, times in first)
    assert set(table["models"]) == {"folds"}


def test_a_single_draw_leaves_its_spread_empty(
    tmp_path: Path, curves: Callable[[int], BudgetCurves]
) -> None:
    write_curves(tmp_path / "one.csv", curves(1))
    assert pd.read_csv(tmp_path / "one.csv")[["std", "low", "high"]].isna().all(axis=None)
