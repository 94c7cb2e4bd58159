"""The study database: one SQLite file, one writer, nothing acknowledged that is not on disk."""

import copy
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import URL, Engine, create_engine, event

from hpsearch.backups import back_up, why_damaged
from hpsearch.errors import StudyError
from hpsearch.files import atomic_path, remove_leftovers, write_text_atomic
from hpsearch.ledger import LEDGER, Ledger

DATABASE = "study.db"
_Storage = TypeVar("_Storage", bound=RDBStorage)
_BUSY_SECONDS = 60  # a reader such as the dashboard may hold the file for a moment


@contextmanager
def sole_writer_of(run_dir: Path) -> Iterator[None]:
    """Hold the study's lock; the operating system lets go of it when the process dies.

    Raises:
        StudyError: another process has it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    owner = run_dir / "study.owner"
    lock = FileLock(run_dir / "study.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        pid = owner.read_text().strip() if owner.exists() else "unknown"
        raise StudyError(
            f"{run_dir}: process {pid} is writing this study; wait for it, end it, "
            "or choose another --study-name"
        ) from None
    try:
        write_text_atomic(owner, f"{os.getpid()}\n")
        yield
    finally:
        lock.release()


def open_database(run_dir: Path) -> Engine:
    """An engine on the study's database, made where it is missing.

    Raises:
        StudyError: the file is empty or is not a whole SQLite database.
    """
    path = run_dir / DATABASE
    _require_whole(path)
    engine = create_engine(_url(path), **_patient())
    _make_durable(engine)
    return engine


def create_or_load_study(
    run_dir: Path, study_name: str, *, pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """The study in `run_dir`, for its one writer. Its objective is maximised.

    What becomes of its trials is also kept in the ledger and, from time to time, in a backup.

    Raises:
        StudyError: its database is damaged, or of another version of Optuna.
    """
    path = run_dir / DATABASE
    _require_whole(path)
    if not path.exists():
        with new_study(path, study_name):
            pass
    ledger = Ledger(run_dir / LEDGER)
    storage = _opened(path, lambda: _Recorded(path, ledger))
    _make_durable(storage.engine)
    study = optuna.create_study(
        storage=storage,
        study_name=study_name,
        direction="maximize",
        pruner=pruner,
        load_if_exists=True,
    )
    if not ledger.path.exists():  # the study of an earlier version
        for trial in study.get_trials(deepcopy=False):
            if trial.state is not TrialState.WAITING:
                ledger.write(trial)
    return study


@contextmanager
def new_study(path: Path, study_name: str) -> Iterator[optuna.Study]:
    """A study without trials in a new database, which appears as `path` when the block ends well.

    Made aside and renamed, or a kill in between would leave an empty or a partial database.
    """
    remove_leftovers(path)
    remove_leftovers(path.with_name(f"{path.name}-journal"))
    with atomic_path(path) as partial:
        storage = RDBStorage(_url(partial))
        study = optuna.create_study(storage=storage, study_name=study_name, direction="maximize")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["validation ROC AUC"])
        yield study
        storage.remove_session()
        storage.engine.dispose()


def load_study(run_dir: Path) -> optuna.Study:
    """The one study of `run_dir`, to read.

    Raises:
        StudyError: there is none, its database is damaged, or of another version of Optuna.
    """
    path = run_dir / DATABASE
    if not path.exists():
        raise StudyError(f"{run_dir}: holds no study; give a run directory, see `hpsearch status`")
    _require_whole(path)
    storage = _opened(path, lambda: RDBStorage(_url(path), engine_kwargs=_patient()))
    return optuna.load_study(study_name=None, storage=storage)


def upgrade_schema(run_dir: Path) -> Path | None:
    """Bring the database of an earlier Optuna to this one's schema, after a backup.

    Returns:
        The backup, None where there was nothing to upgrade.

    Raises:
        StudyError: the database is damaged, or of a later Optuna.
    """
    path = run_dir / DATABASE
    _require_whole(path)
    storage = RDBStorage(_url(path), engine_kwargs=_patient(), skip_compatibility_check=True)
    try:
        current = storage.get_current_version()
        if current == storage.get_head_version():
            return None
        if current not in storage.get_all_versions():
            raise _other_schema(path, newer=True)
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
        super().__init__(_url(path), engine_kwargs=_patient())
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
        told = super().set_trial_state_values(trial_id, state, values)
        back_up(self._path)
        return told


def _opened(path: Path, make: Callable[[], _Storage]) -> _Storage:
    try:
        return make()
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise _other_schema(path, newer="pip install" in str(error)) from None


def _other_schema(path: Path, *, newer: bool) -> StudyError:
    if newer:
        mend = "a later Optuna wrote it; upgrade optuna (`pip install -U optuna`)"
    else:
        mend = f"an earlier Optuna wrote it; `hpsearch recover --upgrade {path.parent}` converts it"
    return StudyError(f"{path}: {mend}")


def _patient() -> dict[str, Any]:
    return {"connect_args": {"timeout": _BUSY_SECONDS}}


def _url(path: Path) -> str:
    # Escaped, for a path may hold what means something in a URL.
    url = URL.create("sqlite", database=str(path.absolute()))
    return url.render_as_string(hide_password=False)


def _require_whole(path: Path) -> None:
    """Refuse what SQLite or Optuna would silently turn into a new, empty study."""
    if not path.exists():
        return
    why = "is empty" if path.stat().st_size == 0 else why_damaged(path)
    if why is not None:
        what = why if why == "is empty" else f"damaged ({why})"
        raise StudyError(
            f"{path}: {what}; `hpsearch recover {path.parent}` makes it again from {LEDGER}, "
            "backups/ and tasks/"
        )


def _make_durable(engine: Engine) -> None:
    """Write through to the disk; begin by locking, so that no update rests on a stale read."""

    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # leave BEGIN to the event below
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=FULL")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
