"""The study database: one SQLite file, one writer, nothing acknowledged that is not on disk.

Beside Optuna's tables it has one of fold results, so that a study can be asked in SQL. That table
is a copy: the task directories are the truth, and it is filled from them again.
"""

import os
import platform
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Column,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    inspect,
    select,
)
from sqlalchemy.dialects.sqlite import insert

from hpsearch.config.spec import CRITERIA, Criterion, Values
from hpsearch.errors import NothingCompletedError, StudyError
from hpsearch.io.files import atomic_path, is_shared, remove_leftovers, tidy, write_text_atomic
from hpsearch.io.text import printable
from hpsearch.storage.backups import Ledger
from hpsearch.storage.optuna_storage import (
    database_url,
    engine_options,
    make_durable,
    rdb_storage,
    require_whole,
)
from hpsearch.storage.results import FoldResult
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import facts_of, failures_sentence, trials_of

_metadata = MetaData()

fold_results = Table(
    "fold_results",
    _metadata,
    Column("task", String(16), primary_key=True),
    Column("trial", Integer, nullable=False),
    Column("fold", Integer, nullable=False),
    *(Column(criterion, Float, nullable=False) for criterion in CRITERIA),
    Column("best_step", Integer, nullable=False),
    Column("best_loss", Float),
    Column("seconds", Float, nullable=False),
    Column("peak_memory_mb", Float, nullable=False),
    Column("device", String(100), nullable=False),
    Column("directory", String(200), nullable=False),
)


@contextmanager
def sole_writer_of(run_dir: Path) -> Iterator[None]:
    """Hold the study's lock; the operating system lets go of it when the process dies.

    What killed writers left half-written in the run directory itself is removed.

    Raises:
        StudyError: another process has it, here or on another machine, or the file system cannot
            lock.
    """
    folder, shared = RunDir(run_dir), is_shared(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    owner = folder.owner_file
    lock = FileLock(folder.lock_file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise StudyError(
            f"{run_dir}: {_owner(owner)} is writing this study; wait for it, end it, "
            "or choose another --study-name"
        ) from None
    except NotImplementedError:
        raise StudyError(
            f"{run_dir}: its file system has no locks; give --runs a folder on another one"
        ) from None
    try:
        # On a network the lock may be one of this machine alone; the owner's file is seen by all.
        if shared and owner.exists() and _machine(owner) not in (platform.node(), None):
            raise StudyError(
                f"{run_dir}: {_owner(owner)} is writing this study, or was killed at it; if it has "
                f"ended, delete {owner.name} there and run again"
            )
        for place in (run_dir, folder.tasks, folder.final, folder.backups):
            tidy(place, locked=True)
        for place in (folder.report, *folder.final.glob("*")):
            tidy(place)  # reports and exports are written without the lock
        write_text_atomic(owner, f"{os.getpid()}\n{platform.node()}\n")
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


def _owner(owner: Path) -> str:
    """Who is writing, in words."""
    try:
        pid = owner.read_text(encoding="utf-8").split()[0]
    except (OSError, ValueError, IndexError):
        return "an unknown process"
    machine = _machine(owner)
    elsewhere = f" of {printable(machine)}" if machine not in (None, platform.node()) else ""
    return f"process {printable(pid)}{elsewhere}"


def _machine(owner: Path) -> str | None:
    """That of the owner, None where an earlier version wrote the file."""
    lines = owner.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[1] if len(lines) > 1 else None


def open_database(run_dir: Path) -> Engine:
    """An engine on the study's database, made where it is missing.

    Raises:
        StudyError: the file is empty or is not a whole SQLite database.
    """
    path = RunDir(run_dir).database
    require_whole(path)
    engine = create_engine(database_url(path), **engine_options())
    make_durable(engine)
    return engine


def create_or_load_study(
    run_dir: Path, study_name: str, *, pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """The study in `run_dir`, for its one writer. Its objective is maximised.

    What becomes of its trials is also kept in the ledger and, from time to time, in a backup.

    Raises:
        StudyError: its database is damaged, or of another version of Optuna.
    """
    path = RunDir(run_dir).database
    require_whole(path)
    if not path.exists():
        with new_study(path, study_name):
            pass
    ledger = Ledger(RunDir(run_dir).ledger)
    storage = rdb_storage(path, ledger=ledger)
    make_durable(storage.engine)
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
def new_study(path: Path, study_name: str) -> Iterator[tuple[optuna.Study, Engine]]:
    """A study without trials in a new database, which appears as `path` when the block ends well.

    Made aside and renamed, or a kill in between would leave an empty or a partial database.
    """
    remove_leftovers(path)
    remove_leftovers(path.with_name(f"{path.name}-journal"))
    with atomic_path(path) as partial:
        storage = rdb_storage(partial)
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
        StudyError: there is none, its database is damaged, or of another version of Optuna.
    """
    path = RunDir(run_dir).database
    if not path.exists():
        raise StudyError(f"{run_dir}: holds no study; give a run directory, see `hpsearch status`")
    require_whole(path)
    storage = rdb_storage(path)
    return optuna.load_study(study_name=None, storage=storage)


def completed_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that one may choose from: none that another program ended.

    Those of detectors that are trained on labelled anomalies are among them where there are no
    others: their values say nothing of types that no label showed, and flatter them beside trials
    that saw none. See `trials_with_labels`.

    Raises:
        NothingCompletedError: there are none.
    """
    by_state = trials_of(study)
    without = [one for one in by_state.completed if not facts_of(one).trained_on_labels]
    if by_state.completed:
        return without or list(by_state.completed)
    name = f"study {study.study_name}: no trial was completed"
    if not by_state.failed:
        raise NothingCompletedError(f"{name}; give it more time")
    why = failures_sentence(by_state.failed, tried=len(by_state.ended))
    raise NothingCompletedError(
        f"{name}: {why}; mend what failed and run the same command with --retry-failed"
    )


def trials_with_labels(study: optuna.Study) -> list[FrozenTrial]:
    """The completed trials of detectors that are trained on labelled anomalies; may be none."""
    return [one for one in trials_of(study).completed if facts_of(one).trained_on_labels]


def winner(study: optuna.Study, criterion: Criterion) -> FrozenTrial:
    """The completed trial of the highest value by a criterion, the earliest of several.

    Raises:
        StudyError: no trial has been completed, or an earlier version of hpsearch did it.
    """
    complete = completed_trials(study)
    if any(criterion not in facts_of(trial).criteria for trial in complete):
        raise StudyError(
            f"study {study.study_name}: an earlier version of hpsearch began it; give another "
            "--study-name"
        )
    return max(complete, key=lambda trial: (facts_of(trial).criteria[criterion], -trial.number))


def mean_best_step(trial: FrozenTrial) -> int:
    """Steps of the final training: the mean of the folds' best, 0 for a detector without steps."""
    steps = facts_of(trial).best_steps
    return round(sum(steps) / len(steps))


@dataclass(frozen=True)
class FoldRecord:
    """One fold of one trial and its value by each criterion."""

    trial: int
    fold: int
    values: Values


class FoldRecords:
    """The table of fold results in a study's database.

    Raises:
        StudyError: an earlier version of hpsearch, with other columns, wrote the table.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        _metadata.create_all(engine)
        names = {column["name"] for column in inspect(engine).get_columns(fold_results.name)}
        if names != set(fold_results.columns.keys()):
            raise StudyError(
                f"{engine.url.database}: an earlier version of hpsearch began this study; give "
                "another --study-name"
            )

    def add(
        self, record: FoldRecord, result: FoldResult, *, instead_of: Collection[int] = ()
    ) -> None:
        """Write one row; a row of the same task stays, and goes over from trials `instead_of`."""
        values: Mapping[str, object] = {
            "task": result.digest,
            "trial": record.trial,
            "fold": record.fold,
            **{criterion: record.values[criterion] for criterion in CRITERIA},
            "best_step": result.best_step,
            "best_loss": result.best_loss,
            "seconds": result.seconds,
            "peak_memory_mb": result.peak_memory_mb,
            "device": result.device,
            "directory": f"tasks/{result.digest}",
        }
        with self.engine.begin() as connection:
            connection.execute(
                insert(fold_results)
                .values(values)
                .on_conflict_do_update(
                    index_elements=["task"],
                    set_={"trial": record.trial},
                    where=fold_results.c.trial.in_(instead_of),
                )
            )

    def of_trial(self, trial: int) -> list[FoldRecord]:
        """The rows of a trial, by fold."""
        columns = fold_results.c
        query = (
            select(columns.trial, columns.fold, *(columns[name] for name in CRITERIA))
            .where(columns.trial == trial)
            .order_by(columns.fold)
        )
        with self.engine.connect() as connection:
            return [
                FoldRecord(trial, fold, dict(zip(CRITERIA, values, strict=True)))
                for trial, fold, *values in connection.execute(query)
            ]
