"""What went wrong, in words: a fault of the environment, or why a training failed."""

import errno
import re
import sqlite3
import traceback
from collections.abc import Iterator

from hpsearch.errors import FailureReason, HpsearchError, TaskError, UserError
from hpsearch.io.text import printable

_GO_ON = "and run the same command again: it goes on from here"
_FULL = "the disk is full; free some space"
_READ_ONLY = "may only be read; write elsewhere (--runs, HPSEARCH_CACHE), or make it writable"
_DISK = "the disk fails, or the network that it is on; check it"

_OF_FILES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "may not grow so large; raise the limit (ulimit -f)",
    errno.EROFS: _READ_ONLY,
    errno.EACCES: f"permission denied; {_READ_ONLY}",
    errno.EPERM: f"permission denied; {_READ_ONLY}",
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.ENOLCK: "cannot be locked; use a file system with locks",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; end what opens them",
}

_OF_DATABASES = {  # by SQLite's primary code
    sqlite3.SQLITE_BUSY: "another program keeps it locked; end that",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked; end that",
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: f"permission denied; {_READ_ONLY}",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check its folder's permissions",
    sqlite3.SQLITE_IOERR: f"cannot be read or written: disk full, file size limit, or {_DISK}",
    sqlite3.SQLITE_CORRUPT: "damaged; mend it with `hpsearch recover`",
    sqlite3.SQLITE_NOTADB: "damaged; mend it with `hpsearch recover`",
}

_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can.?not allocate memory|can't allocate memory|_ALLOC_FAILED",
    re.IGNORECASE,
)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_MESSAGE, _LINE = 300, 200  # characters
_LINES = 12  # of a traceback


def environment_fault(error: BaseException) -> UserError | None:
    """The fault of the environment that an exception comes from, None where it is another.

    Libraries wrap what the system told them, so the causes are looked through too.
    """
    for cause in _causes(error):
        what = None
        if isinstance(cause, sqlite3.Error):
            fault = _OF_DATABASES.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
            what = None if fault is None else f"the study's database: {fault}"
        elif isinstance(cause, UnicodeEncodeError) and "surrogates" in cause.reason:
            near = cause.object[max(0, cause.start - 40) : cause.end + 20]
            what = f"…{printable(near)}…: a file name that is not UTF-8; rename the file"
        elif isinstance(cause, OSError) and cause.errno in _OF_FILES:
            name = cause.filename2 or cause.filename
            place = f"{printable(name)}: " if name is not None else ""
            what = f"{place}{_OF_FILES[cause.errno]}"
        if what is not None:
            return UserError(f"{what} {_GO_ON}")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it followed from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def failure_of(error: BaseException) -> TaskError:
    """What ended a training, as it is stored: printable, bounded, and able to cross processes."""
    if isinstance(error, TaskError):
        return TaskError(error.reason, shortened(error.message), error.traceback)
    name = "" if isinstance(error, HpsearchError) else f"{type(error).__name__}: "
    lines = "".join(traceback.format_tb(error.__traceback__)).splitlines()  # a message may be long
    return TaskError(
        _reason(error),
        shortened(f"{name}{error}".removesuffix(": ")),
        tuple(shortened(line, _LINE) for line in lines[-_LINES:]),
    )


def shortened(text: object, length: int = _MESSAGE) -> str:
    """Any text on one line that a terminal may show, cut off after `length` characters."""
    shown = printable(text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def _reason(error: BaseException) -> FailureReason:
    for cause in _causes(error):
        # torch raises RuntimeError for memory of the CPU and of some CUDA libraries.
        by_system = isinstance(cause, RuntimeError | OSError)
        if isinstance(cause, MemoryError) or (by_system and _OUT_OF_MEMORY.search(str(cause))):
            return "out_of_memory"
        if isinstance(cause, OSError) and cause.errno in _NO_SPACE:
            return "disk_full"
    return "error"
