"""Records of a table as a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpsearch.files import write_text_atomic
from hpsearch.spreadsheet import guarded


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records of the same keys, one or more, whole or not at all.

    A list becomes its items with spaces between them; None becomes an empty cell.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    table.writeheader()
    for record in records:
        table.writerow(
            {
                key: guarded(" ".join(map(str, value)) if isinstance(value, list) else value)
                for key, value in record.items()
            }
        )
    write_text_atomic(path, text.getvalue())
