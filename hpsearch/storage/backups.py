"""Copies of a study's database: `backups/study-000001.db` and on, the newest few of them."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from hpsearch.io.files import atomic_path, remove_leftovers

_KEPT = 3
_SECONDS = 60.0  # between two copies
_BUSY_SECONDS = 60
_ENVIRONMENT = {  # primary codes that say nothing about the file's content
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


def back_up(database: Path, *, older_than: float = _SECONDS) -> Path | None:
    """Copy a database by SQLite's own backup, which sees one state of it, and drop the oldest.

    Args:
        database: of the study.
        older_than: seconds; nothing is done while the newest copy is younger.

    Returns:
        The copy, None where none was made: the newest is young enough, or the database is damaged.
    """
    found = backups_of(database)
    if found and time.time() - found[0].stat().st_mtime < older_than:
        return None
    number = int(found[0].stem.rpartition("-")[2]) + 1 if found else 1
    copy = _folder(database) / f"{database.stem}-{number:06d}{database.suffix}"
    remove_leftovers(copy)
    try:
        with atomic_path(copy) as partial:
            _copy(database, partial)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        return None
    for old in found[_KEPT - 1 :]:
        old.unlink(missing_ok=True)
    return copy


def backups_of(database: Path) -> list[Path]:
    """The copies that there are, newest first."""
    found = _folder(database).glob(f"{database.stem}-[0-9]*{database.suffix}")
    return sorted(found, reverse=True)


def why_damaged(database: Path) -> str | None:
    """What is wrong with a SQLite file, None where it is whole.

    Raises:
        sqlite3.OperationalError: it cannot be read now: locked, not permitted, a failing disk.
    """
    try:
        # Not mode=ro: it could not roll back the transaction in which a killed writer was.
        uri = f"{database.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _ENVIRONMENT:
            raise
        verdict = str(error)
    return None if verdict == "ok" else " ".join(verdict.split())


def _folder(database: Path) -> Path:
    return database.parent / "backups"


def _copy(database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        target.execute("PRAGMA journal_mode=MEMORY")  # no second file, for the copy is renamed
        source.backup(target)
        if target.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("the copy is not whole")
