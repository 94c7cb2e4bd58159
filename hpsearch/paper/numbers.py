"""The numbers that the paper published, for reports to stand beside.

| column  | type  | meaning                                                                   |
|---------|-------|---------------------------------------------------------------------------|
| table   | int   | 1 to 5                                                                    |
| row     | str   | the table's row, as printed                                               |
| dataset | str   | as it is named here, e.g. nih-pa                                          |
| class   | str   | the normal class (Table 5); "" where there is none, or the mean (Table 1) |
| method  | str   | "Ours" is the deep perceptual autoencoder                                 |
| variant | str   | how hyperparameters were chosen, growing, or the ablation's losses        |
| metric  | str   | one of `Metric`                                                          |
| value   | float | as printed                                                                |
| std     | float | as printed, over three runs; NaN where none is printed                    |
| source  | str   | the cell; unique                                                          |
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

import pandas as pd

from hpsearch.errors import DataError

_COLUMNS = (
    "table",
    "row",
    "dataset",
    "class",
    "method",
    "variant",
    "metric",
    "value",
    "std",
    "source",
)
Metric = Literal["auroc_percent", "training_minutes"]
_METRICS: tuple[Metric, ...] = get_args(Metric)
_NUMBERS_OF_TABLES = range(1, 6)
OURS = "Ours"
"""The method of the deep perceptual autoencoder."""

_FILE = "paper.csv"
_EMPTY_ALLOWED = ("class", "variant")


@dataclass(frozen=True)
class PaperNumber:
    """One number of the paper.

    Attributes:
        value, std: as printed; no std where none is.
        source: the cell.
    """

    value: float
    std: float | None
    source: str


def find_number(
    numbers: pd.DataFrame, *, table: int, dataset: str, variant: str, normal_class: str = ""
) -> PaperNumber | None:
    """What a table of the paper says of its own method, None where it says nothing."""
    rows = numbers[
        (numbers["table"] == table)
        & (numbers["method"] == OURS)
        & (numbers["dataset"] == dataset)
        & (numbers["variant"] == variant)
        & (numbers["class"] == normal_class)
    ]
    return paper_number(rows.iloc[0]) if len(rows) else None


def paper_number(row: "pd.Series[Any]") -> PaperNumber:
    """The number in a row of `load_paper_numbers`."""
    std = None if pd.isna(row["std"]) else float(row["std"])
    return PaperNumber(float(row["value"]), std, str(row["source"]))


def load_paper_numbers() -> pd.DataFrame:
    """Every number of the paper's Tables 1 to 5, one row a number.

    Raises:
        DataError: the file that came with the project was changed and breaks a rule.
    """
    with (files("studies") / _FILE).open(encoding="utf-8") as file:
        return validate_paper_numbers(pd.read_csv(file, dtype=str, keep_default_na=False))


def validate_paper_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The table of texts with its numbers parsed, once it is found to be sound.

    Raises:
        DataError: a column, a table number, a text, a metric, a value or a source breaks a rule of
            this module's description.
    """
    if tuple(table.columns) != _COLUMNS:
        raise DataError(f"{_FILE}: its columns must be {','.join(_COLUMNS)}; install it again")
    no_std = table["std"] == ""
    table = table.copy()
    for column in ("table", "value", "std"):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    texts = [column for column in _COLUMNS if column not in ("table", "value", "std")]
    needed = [column for column in texts if column not in _EMPTY_ALLOWED]
    rules = {
        "table must be 1 to 5": table["table"].isin(_NUMBERS_OF_TABLES),
        "metric must be one of those known": table["metric"].isin(_METRICS),
        "value must be a number of its metric": (table["value"] > 0)
        & ((table["metric"] != "auroc_percent") | (table["value"] <= 100)),
        "std must be empty or at least 0": no_std | (table["std"] >= 0),
        "texts must not be empty": (table[needed] != "").all(axis=1),
        "source must be unique": ~table["source"].duplicated(),
    }
    for rule, kept in rules.items():
        if not kept.all():
            line = int(kept.to_numpy().argmin()) + 2  # after the header, counted from 1
            raise DataError(f"{_FILE} row {line}: {rule}; install it again")
    return table.astype({"table": "int64"})
