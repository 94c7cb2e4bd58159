"""The study database as Optuna's dashboard reads it: beside a search that is writing it."""

import sqlite3
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from hpsearch.optuna_storage import sqlite_url
from hpsearch.storage import DATABASE, load_study

_BUSY_SECONDS = 60  # the search may hold the file for a moment


class _ReadOnly(sqlite3.Connection):
    """Refuses to change a row.

    Not SQLite's mode=ro: that could not roll back the transaction in which a killed search was.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA query_only=ON")


def open_storage(run_dir: Path, *, write: bool) -> RDBStorage:
    """The storage of a study that is there and whole; the file is never made.

    Args:
        run_dir: of the study.
        write: for the holder of the study's lock alone.

    Raises:
        StudyError: there is no study, or its database is damaged.
    """
    load_study(run_dir)
    uri = (run_dir / DATABASE).absolute().as_uri()
    connect_args: dict[str, Any] = {"timeout": _BUSY_SECONDS}
    if not write:
        connect_args["factory"] = _ReadOnly
    return RDBStorage(
        sqlite_url(uri, {"mode": "rw", "uri": "true"}),
        engine_kwargs={"connect_args": connect_args},
        skip_table_creation=True,
    )
