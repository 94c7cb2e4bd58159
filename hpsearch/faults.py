"""Faults of the environment in words: a full disk, a locked database, a read-only folder."""

import errno
import sqlite3
from collections.abc import Iterator

from hpsearch.errors import UserError
from hpsearch.files import printable

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


def environment_fault(error: BaseException) -> UserError | None:
    """The fault of the environment that an exception comes from, None where it is another.

    Libraries wrap what the system told them, so the causes are looked through too.
    """
    for cause in _causes(error):
        told = _told(cause)
        if told is not None:
            return UserError(f"{told} {_GO_ON}")
    return None


def _told(cause: BaseException) -> str | None:
    if isinstance(cause, sqlite3.Error):
        what = _OF_DATABASES.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
        return None if what is None else f"the study's database: {what}"
    if isinstance(cause, UnicodeEncodeError) and "surrogates" in cause.reason:
        near = cause.object[max(0, cause.start - 40) : cause.end + 20]
        return f"…{printable(near)}…: a file name that is not UTF-8; rename the file"
    if isinstance(cause, OSError) and cause.errno in _OF_FILES:
        name = cause.filename2 or cause.filename
        place = f"{printable(name)}: " if name is not None else ""
        return f"{place}{_OF_FILES[cause.errno]}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
