from pathlib import Path

import pytest

from hpsearch.errors import StudyError
from hpsearch.reports.document import Figure, Text
from hpsearch.reports.label_budget import budget_block, read_budget

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
