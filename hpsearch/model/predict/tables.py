"""The finished table of scores as CSV or Parquet, row by row, appearing in one step.

A long table written block by block: after a kill the blocks that are there are not made again.

Beside the table `scores.csv` lies `.scores.csv.parts/` until it is done: `key.txt` says of which
job, and each block is a JSON file that appears whole or not at all.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import atomic_path, printable, write_csv, write_text_atomic

_KEY, _LOCK = "key.txt", "lock"


@dataclass(frozen=True)
class Row:
    """What is known of an image: its score, or why there is none."""

    image_id: str
    score: float | None
    p_value: float | None
    is_anomaly: bool | None
    reason: str = ""
    frames: int = 1  # of its file, of which the first is scored


class Parts:
    """The blocks of one job.

    Args:
        folder: that holds them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, number: int) -> bool:
        """Whether a block is there."""
        return self._path(number).exists()

    def write(self, number: int, rows: Sequence[Row]) -> None:
        """Write a block."""
        write_text_atomic(self._path(number), json.dumps([astuple(row) for row in rows]))

    def rows(self, number: int) -> Iterator[Row]:
        """Read a block back, number for number the same."""
        for values in json.loads(self._path(number).read_text(encoding="utf-8")):
            yield Row(*values)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.json"


@contextmanager
def parts_of(table: Path, key: str) -> Iterator[Parts]:
    """The parts of `table`, those that are there already if they are of the job with this `key`.

    They are removed when the block ends well.

    Raises:
        DataError: another process writes the same table, or the folder cannot be written.
    """
    folder = table.parent / f".{table.name}.parts"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=0):
            _begin(folder, key)
            yield Parts(folder)
        shutil.rmtree(folder)
    except Timeout as error:
        what = "another process writes it"
        raise DataError(f"{printable(table)}: {what}; wait for it or give another --out") from error
    except OSError as error:
        what = f"cannot be written ({printable(error.strerror or error)})"
        raise DataError(f"{printable(table)}: {what}; mend that or give another --out") from error


def _begin(folder: Path, key: str) -> None:
    known = folder / _KEY
    if known.exists() and known.read_text(encoding="utf-8") == key:
        return
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink()
    write_text_atomic(known, key)


SUFFIXES = (".csv", ".parquet")
COLUMNS = ("image_id", "score", "p_value", "is_anomaly")
_GROUP = 65_536  # rows of a table that are in memory at a time


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
    if out.suffix.lower() == ".csv":
        values = (
            (
                row.image_id,
                row.score,
                row.p_value,
                None if row.is_anomaly is None else int(row.is_anomaly),
            )
            for row in rows
        )
        write_csv(out, _blocks(values, COLUMNS), quoted=True)
    else:
        with atomic_path(out) as temporary:
            _write_parquet(temporary, iter(rows))


def write_unreadable(path: Path, rows: Iterable[Row]) -> None:
    """Write which images have no score, and why: columns `image_id` and `reason`."""
    values = ((row.image_id, row.reason) for row in rows)
    write_csv(path, _blocks(values, ("image_id", "reason")), quoted=True)


def _blocks(rows: Iterator[Sequence[Any]], columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Rows as tables that fit into memory, one at least."""
    first = True
    while (group := list(islice(rows, _GROUP))) or first:
        yield pd.DataFrame(group, columns=list(columns), dtype=object)
        first = False


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
