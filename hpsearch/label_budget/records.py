"""The curves as plain values, and as a CSV file."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpsearch.files import write_text_atomic
from hpsearch.label_budget.curves import BudgetCurves, Point

_DIGITS = 6
_FIGURES = ("mean", "std", "low", "high", "regret", "best", "worst")


def curve_records(curves: BudgetCurves) -> list[dict[str, Any]]:
    """One record a point; figures are test AUCs, None where a single draw has no spread."""
    return [_record(curves, point) for point in curves.points]


def write_curves(path: Path, curves: BudgetCurves) -> None:
    """Write the records as CSV, whole or not at all; `chosen` is `trial:times` by frequency."""
    text = io.StringIO()
    records = curve_records(curves)
    table = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    table.writeheader()
    for record in records:
        figures = {name: _text(record[name]) for name in _FIGURES}
        chosen = _pairs([(each["trial"], each["times"]) for each in record["chosen"]])
        table.writerow(record | figures | {"chosen": chosen})
    write_text_atomic(path, text.getvalue())


def _record(curves: BudgetCurves, point: Point) -> dict[str, Any]:
    return {
        "n_types": point.cell.n_types,
        "n_examples": point.cell.n_examples,
        "drawn_from_types": point.cell.n_eligible,
        "repeats": curves.question.repeats,
        "mean": point.mean,
        "std": point.std,
        "low": point.low,
        "high": point.high,
        "regret": point.regret,
        "best": curves.best,
        "worst": curves.worst,
        "models": curves.models,
        "chosen": [{"trial": trial, "times": times} for trial, times in point.chosen],
    }


def _text(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.{_DIGITS}f}"


def _pairs(chosen: Sequence[tuple[int, int]]) -> str:
    return " ".join(f"{trial}:{times}" for trial, times in chosen)
