"""The study database: one SQLite file, one writer, nothing acknowledged that is not on disk."""

import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, create_engine

from hpsearch.config.spec import Criterion
from hpsearch.errors import NothingCompletedError, StudyError
from hpsearch.io.files import (
    atomic_path,
    is_shared,
    printable,
    remove_leftovers,
    tidy,
    write_text_atomic,
)
from hpsearch.storage.ledger import LEDGER, Ledger
from hpsearch.storage.optuna_storage import (
    database_url,
    engine_options,
    make_durable,
    open_storage,
    require_whole,
)
from hpsearch.storage.trials import failures_sentence, trials_of

DATABASE = "study.db"


@contextmanager
def sole_writer_of(run_dir: Path) -> Iterator[None]:
    """Hold the study's lock; the operating system lets go of it when the process dies.

    What killed writers left half-written in the run directory itself is removed.

    Raises:
        StudyError: another process has it, here or on another machine, or the file system cannot
            lock.
    """
    shared = is_shared(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    owner = run_dir / "study.owner"
    lock = FileLock(run_dir / "study.lock", timeout=0)
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
        if shared:
            _refuse_other_machine(run_dir, owner)
        for folder in (run_dir, run_dir / "tasks", run_dir / "final", run_dir / "backups"):
            tidy(folder, locked=True)
        for folder in (run_dir / "report", *(run_dir / "final").glob("*")):
            tidy(folder)  # reports and exports are written without the lock
        write_text_atomic(owner, f"{os.getpid()}\n{platform.node()}\n")
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


def _refuse_other_machine(run_dir: Path, owner: Path) -> None:
    """On a network the lock may be one of this machine alone; the owner's file is seen by all."""
    if owner.exists() and _machine(owner) not in (platform.node(), None):
        raise StudyError(
            f"{run_dir}: {_owner(owner)} is writing this study, or was killed at it; if it has "
            f"ended, delete {owner.name} there and run again"
        )


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
    path = run_dir / DATABASE
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
    path = run_dir / DATABASE
    require_whole(path)
    if not path.exists():
        with new_study(path, study_name):
            pass
    ledger = Ledger(run_dir / LEDGER)
    storage = open_storage(path, ledger=ledger)
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
        storage = open_storage(partial)
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
    path = run_dir / DATABASE
    if not path.exists():
        raise StudyError(f"{run_dir}: holds no study; give a run directory, see `hpsearch status`")
    require_whole(path)
    storage = open_storage(path)
    return optuna.load_study(study_name=None, storage=storage)


def completed_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that one may choose from: none that another program ended.

    Raises:
        NothingCompletedError: there are none.
    """
    by_state = trials_of(study)
    if by_state.completed:
        return list(by_state.completed)
    name = f"study {study.study_name}: no trial was completed"
    if not by_state.failed:
        raise NothingCompletedError(f"{name}; give it more time")
    why = failures_sentence(by_state.failed, tried=len(by_state.ended))
    raise NothingCompletedError(
        f"{name}: {why}; mend what failed and run the same command with --retry-failed"
    )


def winner(study: optuna.Study, criterion: Criterion) -> FrozenTrial:
    """The completed trial of the highest value by a criterion, the earliest of several.

    Raises:
        StudyError: no trial has been completed, or an earlier version of hpsearch did it.
    """
    complete = completed_trials(study)
    if any(criterion not in trial.user_attrs for trial in complete):
        raise StudyError(
            f"study {study.study_name}: an earlier version of hpsearch began it; give another "
            "--study-name"
        )
    return max(complete, key=lambda trial: (trial.user_attrs[criterion], -trial.number))


def mean_best_step(trial: FrozenTrial) -> int:
    """Steps of the final training: the mean of the folds' best, 0 for a detector without steps."""
    steps: list[int] = trial.user_attrs["best_steps"]
    return round(sum(steps) / len(steps))
