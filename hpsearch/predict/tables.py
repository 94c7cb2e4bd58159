"""The finished table of scores as CSV or Parquet, row by row, appearing in one step."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from hpsearch.errors import SpecError
from hpsearch.files import atomic_path, printable
from hpsearch.predict.parts import Row
from hpsearch.spreadsheet import guarded

SUFFIXES = (".csv", ".parquet")
COLUMNS = ("image_id", "score", "p_value", "is_anomaly")
_GROUP = 65_536  # rows of a Parquet file that are in memory at a time


def check_table(out: Path) -> None:
    """Refuse a name that `write_table` cannot serve, before anything is computed.

    Raises:
        SpecError: another suffix, or Parquet without pyarrow.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise SpecError(f"--out {printable(out)}: must end in {' or '.join(SUFFIXES)}")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise SpecError("--out: Parquet needs pyarrow; pip install pyarrow, or write .csv")


def write_table(out: Path, rows: Iterable[Row]) -> None:
    """Write the columns `COLUMNS`; p_value and is_anomaly are empty without a calibration.

    In CSV an image_id that a spreadsheet would run begins with a `'`; Parquet has it as it is.
    """
    with atomic_path(out) as temporary:
        if out.suffix.lower() == ".csv":
            values = ((row.image_id, row.score, row.p_value, _flag(row)) for row in rows)
            _write_csv(temporary, COLUMNS, values)
        else:
            _write_parquet(temporary, iter(rows))


def write_unreadable(path: Path, rows: Iterable[Row]) -> None:
    """Write which images have no score, and why: columns `image_id` and `reason`."""
    with atomic_path(path) as temporary:
        _write_csv(temporary, ("image_id", "reason"), ((row.image_id, row.reason) for row in rows))


def _flag(row: Row) -> int | None:
    return None if row.is_anomaly is None else int(row.is_anomaly)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    # Names of files may hold any character: bytes that are no UTF-8 are written as they are, and
    # text is quoted, for a carriage return needs it.
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(map(guarded, row) for row in rows)


def _write_parquet(path: Path, rows: Iterator[Row]) -> None:
    import pyarrow  # optional, and refused by `check_table` where it is missing
    from pyarrow import parquet

    types = (pyarrow.string(), pyarrow.float64(), pyarrow.float64(), pyarrow.bool_())
    schema = pyarrow.schema(list(zip(COLUMNS, types, strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, _GROUP)):
            columns = {
                "image_id": [_unicode(row.image_id) for row in group],
                **{name: [getattr(row, name) for row in group] for name in COLUMNS[1:]},
            }
            writer.write_table(pyarrow.table(columns, schema=schema))


def _unicode(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
