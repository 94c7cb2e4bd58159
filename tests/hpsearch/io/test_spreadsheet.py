import csv
from pathlib import Path

import pytest

from hpsearch.io.files import guarded
from hpsearch.model.predict.tables import ScoreRow, write_table, write_unreadable
from hpsearch.paper.records import write_records

FORMULAS = ["=cmd()", "+1+cmd()", "-1+cmd()", "@SUM(1)", "\t=cmd()", "\r=cmd()"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_is_text(cell: str) -> None:
    assert guarded(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["a=b", "", "-1.5", "+2", "-inf", -1.5, None, True])
def test_other_cells_stay(cell: object) -> None:
    assert guarded(cell) is cell


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def test_every_table_that_people_open_is_guarded(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_table(path, [ScoreRow(name, -0.5, 0.25, True) for name in FORMULAS])
    assert _rows(path) == [[f"'{name}", "-0.5", "0.25", "1"] for name in FORMULAS]
    write_unreadable(path, [ScoreRow(name, None, None, None, "=reason") for name in FORMULAS])
    assert _rows(path) == [[f"'{name}", "'=reason"] for name in FORMULAS]
    names = FORMULAS[:-1]
    write_records(path, [{"row": name, "value": -1.0, "list": [name]} for name in names])
    assert _rows(path) == [[f"'{name}", "-1.0", f"'{name}"] for name in names]
