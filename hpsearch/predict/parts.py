"""A long table written block by block: after a kill the blocks that are there are not made again.

Beside the table `scores.csv` lies `.scores.csv.parts/` until it is done: `key.txt` says of which
job, and each block is a JSON file that appears whole or not at all.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from hpsearch.errors import DataError
from hpsearch.files import printable, write_text_atomic

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
