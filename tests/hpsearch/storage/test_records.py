import sqlite3
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import create_engine

from hpsearch.config.spec import Values
from hpsearch.errors import StudyError
from hpsearch.storage.database import FoldRecord, FoldRecords
from hpsearch.storage.results import FoldResult


def _result(digest: str, best_loss: float | None = 0.1) -> FoldResult:
    nothing = pd.DataFrame()
    return FoldResult(digest, nothing, 5, best_loss, nothing, 1.5, 20.0, "cpu")


def _values(weak: float) -> Values:
    return {"weak": weak, "unsupervised": -weak, "synthetic": weak / 2}


@pytest.fixture
def records(tmp_path: Path) -> FoldRecords:
    return FoldRecords(create_engine(f"sqlite:///{tmp_path}/study.db"))


def test_rows_come_back_by_fold_and_to_the_last_bit(records: FoldRecords) -> None:
    second, first = FoldRecord(3, 1, _values(1 / 3)), FoldRecord(3, 0, _values(0.1 + 0.2))
    records.add(second, _result("b", best_loss=None))
    records.add(first, _result("a"))
    records.add(FoldRecord(4, 0, _values(0.5)), _result("c"))
    assert records.of_trial(3) == [first, second]
    assert records.of_trial(9) == []


def test_a_row_of_the_same_task_stays_as_it_is(records: FoldRecords) -> None:
    for auroc in (0.75, 0.25):
        records.add(FoldRecord(0, 0, _values(auroc)), _result("a"))
    assert records.of_trial(0) == [FoldRecord(0, 0, _values(0.75))]


def test_a_row_goes_over_from_a_failed_trial_to_the_one_that_tried_it_again(
    records: FoldRecords,
) -> None:
    for trial, instead_of in ((0, ()), (1, ()), (5, (0, 2))):
        records.add(FoldRecord(trial, 0, _values(0.75)), _result("a"), instead_of=instead_of)
    assert records.of_trial(0) == records.of_trial(1) == []
    assert records.of_trial(5) == [FoldRecord(5, 0, _values(0.75))]


def test_a_study_can_be_asked_in_sql(records: FoldRecords, tmp_path: Path) -> None:
    records.add(FoldRecord(0, 2, _values(0.9)), _result("abc"))
    FoldRecords(records.engine)  # a second opening keeps the rows
    connection = sqlite3.connect(tmp_path / "study.db")
    columns = "directory, best_step, device, weak, unsupervised, synthetic"
    rows = connection.execute(f"select {columns} from fold_results").fetchall()
    connection.close()
    assert rows == [("tasks/abc", 5, "cpu", 0.9, -0.9, 0.45)]


def test_a_table_of_an_earlier_version_is_refused_in_one_line(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "study.db")
    connection.execute("create table fold_results (task varchar(16), auroc float)")
    connection.close()
    with pytest.raises(StudyError, match=r"study\.db: an earlier version .* --study-name$"):
        FoldRecords(create_engine(f"sqlite:///{tmp_path}/study.db"))
