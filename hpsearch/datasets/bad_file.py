"""What is wrong with one file, on one line."""

import struct
import zlib
from pathlib import Path

from hpsearch.errors import DataError
from hpsearch.files import printable

# What decoders raise where the bytes are not what their format asks for.
_DAMAGE = (OSError, SyntaxError, EOFError, struct.error, zlib.error)


def bad_file(path: Path, what: str, mend: str) -> DataError:
    """The error of a file, to be raised: its path, `what` it is or holds, and the `mend`."""
    return DataError(f"{printable(path)}: {what}; {mend}")


def undecoded(path: Path, kind: str, error: Exception) -> DataError:
    """The error of a file of a `kind` ("image", "DICOM file") whose decoder raised `error`.

    The file is called damaged only where the decoder said so: memory, permissions, disks and
    limits of a library are no fault of it.
    """
    if isinstance(error, MemoryError):
        return bad_file(path, "does not fit into memory", "cut it into tiles or free some memory")
    if isinstance(error, OSError) and error.errno is not None:
        return bad_file(path, f"cannot be read ({reason(error)})", "mend its permissions or disk")
    if isinstance(error, _DAMAGE):
        return bad_file(path, f"is a damaged {kind} ({reason(error)})", "replace or remove it")
    what = f"is a {kind} that cannot be decoded ({type(error).__name__}: {reason(error)})"
    return bad_file(path, what, "replace, convert or remove it")


def reason(error: Exception) -> str:
    """What a library said of a file, on one line of at most 200 characters."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(said.split())[:200])
