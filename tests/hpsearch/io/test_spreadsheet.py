import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.io.files import write_csv
from hpsearch.io.text import guarded
from hpsearch.model.predict.tables import ScoreRow, write_table, write_unreadable
from hpsearch.paper.lines import write_records

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


def _cells() -> st.SearchStrategy[Any]:
    texts = st.text(st.characters(codec="utf-8")) | st.sampled_from([*FORMULAS, "a\rb", "\udcff"])
    numbers = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()
    return texts | numbers


@given(rows=st.lists(st.tuples(_cells(), _cells()), min_size=1), quoted=st.booleans())
def test_pandas_writes_what_the_csv_module_would(
    rows: list[tuple[Any, Any]], quoted: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = io.StringIO()
    quoting = csv.QUOTE_NONNUMERIC if quoted else csv.QUOTE_MINIMAL
    plain = csv.writer(text, quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
    plain.writerow(("a", "b"))
    plain.writerows([guarded(cell) for cell in row] for row in rows)
    frame = pd.DataFrame(rows, columns=["a", "b"], dtype=object)
    path = tmp_path_factory.getbasetemp() / "table.csv"
    for table in (frame, iter([frame[:1], frame[1:]])):
        write_csv(path, table, quoted=quoted)
        assert path.read_bytes() == text.getvalue().encode("utf-8", "surrogateescape")
