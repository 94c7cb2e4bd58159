import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import create_engine

from hpsearch.records import FoldRecord, FoldRecords
from hpsearch.results import FoldResult


def _result(digest: str, best_loss: float | None = 0.1) -> FoldResult:
    nothing = pd.DataFrame()
    return FoldResult(digest, nothing, 5, best_loss, nothing, 1.5, 20.0, "cpu")


@pytest.fixture
def records(tmp_path: Path) -> FoldRecords:
    return FoldRecords(create_engine(f"sqlite:///{tmp_path}/study.db"))


def test_rows_come_back_by_fold_and_to_the_last_bit(records: FoldRecords) -> None:
    records.add(FoldRecord(3, 1, 1 / 3), _result("b", best_loss=None))
    records.add(FoldRecord(3, 0, 0.1 + 0.2), _result("a"))
    records.add(FoldRecord(4, 0, 0.5), _result("c"))
    assert records.of_trial(3) == [FoldRecord(3, 0, 0.1 + 0.2), FoldRecord(3, 1, 1 / 3)]
    assert records.of_trial(9) == []


def test_a_row_of_the_same_task_stays_as_it_is(records: FoldRecords) -> None:
    for auroc in (0.75, 0.25):
        records.add(FoldRecord(0, 0, auroc), _result("a"))
    assert records.of_trial(0) == [FoldRecord(0, 0, 0.75)]


def test_a_study_can_be_asked_in_sql(records: FoldRecords, tmp_path: Path) -> None:
    records.add(FoldRecord(0, 2, 0.9), _result("abc"))
    FoldRecords(records.engine)  # a second opening keeps the rows
    connection = sqlite3.connect(tmp_path / "study.db")
    rows = connection.execute("select directory, best_step, device from fold_results").fetchall()
    connection.close()
    assert rows == [("tasks/abc", 5, "cpu")]
