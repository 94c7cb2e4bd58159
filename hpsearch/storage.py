"""The study database: one SQLite file, one writer, nothing acknowledged that is not on disk."""

import os
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from sqlalchemy import URL, Engine, create_engine, event

from hpsearch.errors import StudyError
from hpsearch.files import atomic_path, remove_leftovers, tidy, write_text_atomic

DATABASE = "study.db"
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
        for folder in (run_dir, run_dir / "tasks", run_dir / "final"):
            tidy(folder, locked=True)
        for folder in (run_dir / "report", *(run_dir / "final").glob("*")):
            tidy(folder)  # reports and exports are written without the lock
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
    engine = create_engine(_url(path), connect_args={"timeout": _BUSY_SECONDS})
    _make_durable(engine)
    return engine


def create_or_load_study(
    run_dir: Path, study_name: str, *, pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """The study in `run_dir`, for its one writer. Its objective is maximised.

    Raises:
        StudyError: its database is damaged.
    """
    path = run_dir / DATABASE
    _require_whole(path)
    if not path.exists():
        # Made aside and renamed, or a kill in between would leave an empty database.
        remove_leftovers(path)
        remove_leftovers(path.with_name(f"{DATABASE}-journal"))
        with new_database(run_dir, study_name):
            pass
    storage = optuna.storages.RDBStorage(
        _url(path), engine_kwargs={"connect_args": {"timeout": _BUSY_SECONDS}}
    )
    _make_durable(storage.engine)
    return optuna.create_study(
        storage=storage,
        study_name=study_name,
        direction="maximize",
        pruner=pruner,
        load_if_exists=True,
    )


@contextmanager
def new_database(run_dir: Path, study_name: str) -> Iterator[tuple[optuna.Study, Engine]]:
    """Yield a new study; its database takes the place of the study's when the block ends well."""
    with atomic_path(run_dir / DATABASE) as partial:
        storage = optuna.storages.RDBStorage(_url(partial))
        study = optuna.create_study(storage=storage, study_name=study_name, direction="maximize")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["validation ROC AUC"])
        yield study, storage.engine
        storage.remove_session()
        storage.engine.dispose()


def load_study(run_dir: Path) -> optuna.Study:
    """The one study of `run_dir`, to read.

    Raises:
        StudyError: there is none, or its database is damaged.
    """
    path = run_dir / DATABASE
    if not path.exists():
        raise StudyError(f"{run_dir}: holds no study; give a run directory, see `hpsearch status`")
    _require_whole(path)
    return optuna.load_study(study_name=None, storage=_url(path))


def sqlite_url(database: str, query: Mapping[str, str] | None = None) -> str:
    """The URL of a SQLite database, whatever characters its path has, as Optuna takes it: text.

    Args:
        database: an absolute path, or a `file:` URI with `uri=true` in the query.
        query: options of the connection.
    """
    # SQLAlchemy quotes what would end a path in a URL, and the braces that Optuna would fill.
    url = URL.create("sqlite", database=database, query=query or {})
    return url.render_as_string(hide_password=False)


def _url(path: Path) -> str:
    return sqlite_url(str(path.absolute()))


def _require_whole(path: Path) -> None:
    """Refuse what SQLite or Optuna would silently turn into a new, empty study."""
    if not path.exists():
        return
    if path.stat().st_size == 0:
        raise StudyError(
            f"{path}: is empty, a study was lost here; delete it to rebuild it from tasks/"
        )
    try:
        # Not mode=ro: it could not roll back the transaction in which a killed writer was.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        verdict = " ".join(verdict.split())
        raise StudyError(f"{path}: damaged ({verdict}); delete it to rebuild it from tasks/")


def _make_durable(engine: Engine) -> None:
    """Write through to the disk; begin by locking, so that no update rests on a stale read."""

    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # leave BEGIN to the event below
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=FULL")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
