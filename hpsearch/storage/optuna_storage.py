"""A study's SQLite database as Optuna's storage: checked, recorded, read whole, upgraded.

What Optuna keeps private and hpsearch needs is read here alone. Optuna 5.0 (and 4) has no public
name for the storage of a study, for the ids in it (which the dashboard's keys and `optuna.Trial`
take), or for a study's system attributes: `Study.system_attrs` and its setter are deprecated.
"""

import copy
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, Engine, event

from hpsearch.errors import StudyError
from hpsearch.storage.backups import Ledger, back_up
from hpsearch.storage.run_dir import LEDGER

if TYPE_CHECKING:
    from optuna.study._frozen import FrozenStudy

_BUSY_SECONDS = 60  # a reader such as the dashboard may hold the file for a moment
_ENVIRONMENT = {  # primary codes that say nothing about the file's content
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


def storage_of(study: optuna.Study) -> BaseStorage:
    """Where a study is kept."""
    return study._storage


def study_id(study: "optuna.Study | FrozenStudy") -> int:
    """Of a study in its storage."""
    return study._study_id


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """Of a trial in its study's storage."""
    return trial._trial_id


def live_trial(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A trial of a study that has not ended, to go on with."""
    return optuna.Trial(study, trial_id(trial))


def system_attributes(study: optuna.Study) -> dict[str, Any]:
    """What Optuna and its dashboard keep with a study."""
    return storage_of(study).get_study_system_attrs(study_id(study))


def copy_attributes(source: "optuna.Study | Stored", study: optuna.Study) -> None:
    """Give a study the attributes of another, such as what the dashboard shows of it."""
    of_system = source.system_attrs if isinstance(source, Stored) else system_attributes(source)
    for key, value in source.user_attrs.items():
        study.set_user_attr(key, value)
    for key, value in of_system.items():
        storage_of(study).set_study_system_attr(study_id(study), key, value)


def rdb_storage(path: Path, *, ledger: Ledger | None = None) -> RDBStorage:
    """Optuna's storage on a database, made where it is missing.

    Args:
        path: of the database.
        ledger: to which its trials are written too.

    Raises:
        StudyError: the database is of another version of Optuna.
    """
    try:
        if ledger is not None:
            return _Recorded(path, ledger)
        return RDBStorage(database_url(path), engine_kwargs=engine_options())
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise _other_schema(path, later="pip install" in str(error)) from None


@dataclass(frozen=True)
class Stored:
    """What a database of a study holds, in memory.

    Attributes:
        trials: by number.
        user_attrs, system_attrs: of the study.
    """

    trials: Mapping[int, FrozenTrial] = field(default_factory=dict)
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    system_attrs: Mapping[str, Any] = field(default_factory=dict)


def read_database(path: Path) -> Stored:
    """Read a whole database, such as a backup.

    Raises:
        StudyError: it is of another version of Optuna.
    """
    storage = rdb_storage(path)
    try:
        (study,) = storage.get_all_studies()
        trials = {trial.number: trial for trial in storage.get_all_trials(study_id(study))}
        return Stored(trials, study.user_attrs, study.system_attrs)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def upgrade_schema(path: Path) -> Path | None:
    """Bring the database of an earlier Optuna to this one's schema, after a backup.

    Returns:
        The backup, None where there was nothing to upgrade.

    Raises:
        StudyError: the database is damaged, or of a later Optuna.
    """
    require_whole(path)
    storage = RDBStorage(
        database_url(path), engine_kwargs=engine_options(), skip_compatibility_check=True
    )
    try:
        current = storage.get_current_version()
        if current == storage.get_head_version():
            return None
        if current not in storage.get_all_versions():
            raise _other_schema(path, later=True)
        backup = back_up(path, older_than=0)
        storage.upgrade()
        return backup
    finally:
        storage.remove_session()
        storage.engine.dispose()


class _Recorded(RDBStorage):
    """Writes each trial to the ledger when its parameters are known and when it ends.

    The search gives a trial its first attribute when its parameters have been drawn: that is when
    the first of the two lines is written.
    """

    def __init__(self, path: Path, ledger: Ledger) -> None:
        super().__init__(database_url(path), engine_kwargs=engine_options())
        self._path = path
        self._ledger = ledger
        self._asked: set[int] = set()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Optuna's, after the line of a trial that has been asked for."""
        if trial_id not in self._asked:
            self._asked.add(trial_id)
            trial = copy.deepcopy(self.get_trial(trial_id))
            trial.set_user_attr(key, value)
            self._ledger.write(trial)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Optuna's, after the line of a trial that ends."""
        if not state.is_finished():
            return super().set_trial_state_values(trial_id, state, values)
        trial = copy.deepcopy(self.get_trial(trial_id))
        trial.state, trial.datetime_complete = state, datetime.now()
        trial.values = values
        self._ledger.write(trial)
        changed = super().set_trial_state_values(trial_id, state, values)
        back_up(self._path)
        return changed


def _other_schema(path: Path, *, later: bool) -> StudyError:
    if later:
        mend = "a later Optuna wrote it; upgrade optuna (`pip install -U optuna`)"
    else:
        mend = f"an earlier Optuna wrote it; `hpsearch recover --upgrade {path.parent}` converts it"
    return StudyError(f"{path}: {mend}")


def engine_options() -> dict[str, Any]:
    """Of SQLAlchemy: a locked database is waited for."""
    return {"connect_args": {"timeout": _BUSY_SECONDS}}


def database_url(path: Path) -> str:
    """The URL of the SQLite database at `path`."""
    return sqlite_url(str(path.absolute()))


def sqlite_url(database: str, query: Mapping[str, str] | None = None) -> str:
    """The URL of a SQLite database, whatever characters its path has, as Optuna takes it: text.

    Args:
        database: an absolute path, or a `file:` URI with `uri=true` in the query.
        query: options of the connection.
    """
    # SQLAlchemy quotes what would end a path in a URL, and the braces that Optuna would fill.
    url = URL.create("sqlite", database=database, query=query or {})
    return url.render_as_string(hide_password=False)


def require_whole(path: Path) -> None:
    """Refuse what SQLite or Optuna would silently turn into a new, empty study.

    Raises:
        StudyError: the file is empty or is not a whole SQLite database.
    """
    if not path.exists():
        return
    if path.stat().st_size == 0:
        what: str | None = "is empty, a study was lost here"
    else:
        what = f"damaged ({why})" if (why := why_damaged(path)) else None
    if what is not None:
        raise StudyError(
            f"{path}: {what}; `hpsearch recover {path.parent}` makes it again from {LEDGER}, "
            "backups/ and tasks/"
        )


def why_damaged(database: Path) -> str | None:
    """What is wrong with a SQLite file, None where it is whole.

    Raises:
        sqlite3.OperationalError: it cannot be read now: locked, not permitted, a failing disk.
    """
    try:
        # Not mode=ro: it could not roll back the transaction in which a killed writer was.
        uri = f"{database.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            fault = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _ENVIRONMENT:
            raise
        fault = str(error)
    return None if fault == "ok" else " ".join(fault.split())


def make_durable(engine: Engine) -> None:
    """Write through to the disk; begin by locking, so that no update rests on a stale read."""

    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # leave BEGIN to the event below
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=FULL")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
