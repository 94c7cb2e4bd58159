"""What is wrong with one file, on one line."""

from pathlib import Path

from hpsearch.errors import DataError
from hpsearch.files import printable


def bad_file(path: Path, what: str, mend: str) -> DataError:
    """The error of a file, to be raised: its path, `what` it is or holds, and the `mend`."""
    return DataError(f"{printable(path)}: {what}; {mend}")


def reason(error: Exception) -> str:
    """What a library said of a file, on one line of at most 200 characters."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(said.split())[:200])
