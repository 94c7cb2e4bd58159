"""A table's lines as plain values, for its CSV file and for machines.

Records of a table as a CSV file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from hpsearch.io.files import write_csv
from hpsearch.paper.contents import PaperTable
from hpsearch.paper.lines import Line


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records of the same keys, one or more, whole or not at all.

    A list becomes its items with spaces between them; None becomes an empty cell.
    """
    rows = [
        {
            key: " ".join(map(str, value)) if isinstance(value, list) else value
            for key, value in record.items()
        }
        for record in records
    ]
    write_csv(path, pd.DataFrame(rows, dtype=object))


def write_table(path: Path, table: PaperTable, lines: Sequence[Line], *, runs: Path) -> None:
    """Write the lines as a CSV file, whole or not at all; see `line_record` for its columns."""
    write_records(path, [line_record(table, line, runs=runs) for line in lines])


def line_record(table: PaperTable, line: Line, *, runs: Path) -> dict[str, Any]:
    """A line as plain values; what it cannot say is None or empty.

    `value`, `low`, `high`, `runs` are in the unit of `metric`; `difference` is ours less the
    paper's; `tasks` are directories below the folder `runs`, whose stored scores give the figure.
    """
    ours, paper = line.ours, line.paper
    figure: dict[str, Any] = {"value": None, "std": None, "low": None, "high": None, "runs": []}
    if ours:
        figure = {key: getattr(ours, key) for key in figure} | {"runs": list(ours.runs)}
    n_normal, n_anomaly = ours.images if ours and ours.images else (None, None)
    return {
        "table": table.number,
        "dataset": line.dataset,
        "classes": list(line.classes),
        "method": line.method,
        "variant": line.variant,
        "metric": line.metric,
        "status": line.status,
        **figure,
        "difference": line.difference,
        **_paper(asdict(paper) if paper else {}),
        "n_normal": n_normal,
        "n_anomaly": n_anomaly,
        "params": ours.params if ours else "",
        "seconds": round(ours.seconds, 1) if ours else None,
        "tasks": [task.relative_to(runs).as_posix() for task in ours.tasks] if ours else [],
        "why": line.why,
    }


def _paper(number: dict[str, Any]) -> dict[str, Any]:
    return {f"paper_{key}": number.get(key) for key in ("value", "std", "source")}
