"""Where the toolkit keeps what it can make again: decoded pixels, generated and downloaded data."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock

from hpsearch.errors import DataError
from hpsearch.files import printable, remove_leftovers


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
        mend = "mend that, or set HPSEARCH_CACHE to another folder"
        raise DataError(f"{printable(folder)}: {what}; {mend}") from error
