"""Where the toolkit keeps what it can make again: decoded pixels, generated and downloaded data."""

import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import platformdirs
from filelock import FileLock

from hpsearch.errors import DataError
from hpsearch.io.files import remove_leftovers
from hpsearch.io.text import printable

_log = logging.getLogger(__name__)
_Content = TypeVar("_Content")
_DAMAGE = (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error)


def cache_dir() -> Path:
    """The folder named by the environment variable HPSEARCH_CACHE, else the user's cache folder."""
    chosen = os.environ.get("HPSEARCH_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("hpsearch")


@contextmanager
def sole_writer(target: Path) -> Iterator[None]:
    """Hold the lock for making `target`, so that two processes do not both make it.

    Look again for `target` inside the block: the last holder of the lock may have made it.

    Raises:
        DataError: the block, or the lock, could not write there.
    """
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{target.name}.lock"):
            remove_leftovers(target)
            yield
    except OSError as error:
        what = f"cannot be written ({printable(error.strerror or error)})"
        remedy = "mend that, or set HPSEARCH_CACHE to another folder"
        raise DataError(f"{printable(folder)}: {what}; {remedy}") from error


def read_or_make(
    target: Path, read: Callable[[Path], _Content], make: Callable[[Path], None]
) -> _Content:
    """What is in a file of the cache: made where it is missing, and anew, with a note, if damaged.

    Args:
        target: the file.
        read: gives its content, or raises what reading a damaged file raises (OSError, ValueError,
            EOFError, KeyError, or an error of zip files).
        make: writes it whole; called by one process at a time.

    Raises:
        DataError: it could not be written.
    """
    return read_or_make_all([target], read, lambda missing: make(*missing))[target]


def read_or_make_all(
    targets: Iterable[Path],
    read: Callable[[Path], _Content],
    make: Callable[[Sequence[Path]], None],
) -> dict[Path, _Content]:
    """What is in several files of the cache, as `read_or_make`, with one call of `make`.

    Args:
        targets: the files.
        read: gives the content of one.
        make: writes those that are missing or damaged, each whole.

    Raises:
        DataError: they could not be written.
    """
    targets = tuple(targets)
    found: dict[Path, _Content] = {}
    for target in targets:
        # Why not is found out by the one that may write: others may have made it meanwhile.
        with suppress(*_DAMAGE):
            found[target] = read(target)
    absent = sorted(set(targets) - found.keys())
    missing: list[Path] = []
    with ExitStack() as locks:
        for target in absent:  # in the same order everywhere: no two wait for each other
            locks.enter_context(sole_writer(target))
            try:
                found[target] = read(target)
            except FileNotFoundError:
                missing.append(target)
            except _DAMAGE as error:
                _log.warning("%s: damaged (%s); made anew", printable(target), printable(error))
                missing.append(target)
        if missing:
            make(missing)
            found |= {target: read(target) for target in missing}
    return {target: found[target] for target in targets}


def check_disk_space(folder: Path, needed: int) -> None:
    """Refuse to begin what will not fit.

    Args:
        folder: exists, below the cache folder.
        needed: bytes.

    Raises:
        DataError: there is less.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        what = f"{needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free"
        remedy = "make room or set HPSEARCH_CACHE to another folder"
        raise DataError(f"cache folder {printable(folder)}: {what}; {remedy}")
