"""Is there room in the cache for what is about to be made?"""

import shutil
from pathlib import Path

from hpsearch.errors import DataError
from hpsearch.files import printable


def check_room(folder: Path, needed: int) -> None:
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
        mend = "make room or set HPSEARCH_CACHE to another folder"
        raise DataError(f"cache folder {printable(folder)}: {what}; {mend}")
