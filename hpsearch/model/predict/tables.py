"""The table of scores as CSV or Parquet, made block by block and appearing in one step.

After a kill the blocks that are there are not made again: beside the table `scores.csv` lies
`.scores.csv.parts/` until it is done, in which `key.txt` says of which job it is, and each block is
a JSON file that appears whole or not at all.
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
from hpsearch.io.files import atomic_path, write_csv, write_text_atomic
from hpsearch.io.text import printable

_KEY, _LOCK = "key.txt", "lock"
TABLE_SUFFIXES = (".csv", ".parquet")
SCORE_COLUMNS = ("image_id", "score", "p_value", "is_anomaly")
_GROUP = 65_536  # rows of a Parquet file that are in memory at a time


@dataclass(frozen=True)
class ScoreRow:
    """What is known of an image: its score, or why there is none.

    Attributes:
        image_id: its id.
        score, p_value, is_anomaly: None where it cannot be read, or without a calibration.
        reason: why it cannot be read.
        frames: of its file, of which the first is scored.
    """

    image_id: str
    score: float | None
    p_value: float | None
    is_anomaly: bool | None
    reason: str = ""
    frames: int = 1


class BlockFiles:
    """The blocks of one job.

    Args:
        folder: that holds them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, number: int) -> bool:
        """Whether a block is there."""
        return self._path(number).exists()

    def write(self, number: int, rows: Sequence[ScoreRow]) -> None:
        """Write a block."""
        write_text_atomic(self._path(number), json.dumps([astuple(row) for row in rows]))

    def rows(self, number: int) -> Iterator[ScoreRow]:
        """Read a block back, number for number the same."""
        for values in json.loads(self._path(number).read_text(encoding="utf-8")):
            yield ScoreRow(*values)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.json"


@contextmanager
def kept_blocks(table: Path, key: str) -> Iterator[BlockFiles]:
    """The blocks of `table`; those on disk are kept if they are of the job with this `key`.

    They are removed when the block ends well.

    Raises:
        DataError: another process writes the same table, or the folder cannot be written.
    """
    folder = table.parent / f".{table.name}.parts"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=0):
            known = folder / _KEY
            if not known.exists() or known.read_text(encoding="utf-8") != key:
                for path in folder.iterdir():
                    if path.name != _LOCK:
                        path.unlink()
                write_text_atomic(known, key)
            yield BlockFiles(folder)
        shutil.rmtree(folder)
    except Timeout as error:
        what = "another process writes it"
        raise DataError(f"{printable(table)}: {what}; wait for it or give another --out") from error
    except OSError as error:
        what = f"cannot be written ({printable(error.strerror or error)})"
        raise DataError(f"{printable(table)}: {what}; mend that or give another --out") from error


def check_table(out: Path) -> None:
    """Refuse a name that `write_table` cannot serve, before anything is computed.

    Raises:
        SpecError: another suffix, or Parquet without pyarrow.
    """
    suffix = out.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise SpecError(f"--out {printable(out)}: must end in {' or '.join(TABLE_SUFFIXES)}")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise SpecError("--out: Parquet needs pyarrow; pip install pyarrow, or write .csv")


def write_table(out: Path, rows: Iterable[ScoreRow]) -> None:
    """Write the columns `SCORE_COLUMNS`; p_value and is_anomaly are empty without a calibration.

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
        write_csv(out, _blocks(values, SCORE_COLUMNS), quoted=True)
    else:
        with atomic_path(out) as temporary:
            _write_parquet(temporary, iter(rows))


def write_unreadable(path: Path, rows: Iterable[ScoreRow]) -> None:
    """Write which images have no score, and why: columns `image_id` and `reason`."""
    values = ((row.image_id, row.reason) for row in rows)
    write_csv(path, _blocks(values, ("image_id", "reason")), quoted=True)


def _blocks(rows: Iterator[Sequence[Any]], columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Rows as tables that fit into memory, one at least."""
    first = True
    while (group := list(islice(rows, _GROUP))) or first:
        yield pd.DataFrame(group, columns=list(columns), dtype=object)
        first = False


def _write_parquet(path: Path, rows: Iterator[ScoreRow]) -> None:
    import pyarrow  # optional, and refused by `check_table` where it is missing
    from pyarrow import parquet

    types = (pyarrow.string(), pyarrow.float64(), pyarrow.float64(), pyarrow.bool_())
    schema = pyarrow.schema(list(zip(SCORE_COLUMNS, types, strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, _GROUP)):
            columns = {
                "image_id": [
                    row.image_id.encode("utf-8", "backslashreplace").decode() for row in group
                ],
                **{name: [getattr(row, name) for row in group] for name in SCORE_COLUMNS[1:]},
            }
            writer.write_table(pyarrow.table(columns, schema=schema))
