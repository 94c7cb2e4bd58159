"""A running study that keeps its records in trackers up to date."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import optuna

from hpsearch.errors import SpecError, UserError
from hpsearch.io.files import printable
from hpsearch.reports.trackers.backends import MLflowLogger, TensorBoardLogger
from hpsearch.reports.trackers.record import (
    Record,
    final_name,
    final_record,
    trial_name,
    trial_record,
)
from hpsearch.search.events import Listener, TrialReport
from hpsearch.storage.database import load_study
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import trials_of
from hpsearch.study.result import read_winner


class Logger(Protocol):
    """Keeps records of one study."""

    def has(self, name: str) -> bool:
        """Whether it keeps a record of this name already."""

    def write(self, record: Record) -> None:
        """Keep a record. May raise anything; a search goes on without."""


_LOGGERS: Mapping[str, Callable[[Path], Logger]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MLflowLogger,
}


def open_loggers(names: Sequence[str], study: Path) -> list[Logger]:
    """Trackers by name, ready to write.

    Args:
        names: `tensorboard`, `mlflow`.
        study: the run directory, which need not exist yet.

    Raises:
        SpecError: another name, a package is missing, or a server does not answer.
    """
    for name in names:
        if name not in _LOGGERS:
            raise SpecError(f"--log {name!r:.40}: must be one of {', '.join(_LOGGERS)}")
        if find_spec(name) is None:
            raise SpecError(f"--log {name}: is not installed; pip install 'hpsearch[{name}]'")
    return [_LOGGERS[name](study) for name in dict.fromkeys(names)]


@contextmanager
def logged(listener: Listener, names: Sequence[str], study: Path) -> Iterator[Listener]:
    """The listener, and beside it trackers that get what the study in the block has.

    Trials that ended before are caught up with. A tracker that fails is told of once and left out.

    Args:
        listener: told of progress.
        names: of trackers, none for none.
        study: the run directory, which need not exist yet.

    Raises:
        SpecError: as `open_loggers`.
    """
    if not names:
        yield listener
        return
    logging = LoggingListener(listener, open_loggers(names, study), RunDir(study))
    yield logging
    logging.catch_up()


class LoggingListener:
    """Passes everything on, and writes what is new whenever a trial has ended."""

    def __init__(self, listener: Listener, loggers: list[Logger], folder: RunDir) -> None:
        self.listener = listener
        self.loggers = loggers
        self.folder = folder

    def progress(self, what: str, done: int, total: int) -> None:
        """Passed on."""
        self.listener.progress(what, done, total)

    def note(self, message: str) -> None:
        """Passed on."""
        self.listener.note(message)

    def trial(self, report: TrialReport) -> None:
        """Passed on; then the records are brought up to date."""
        self.listener.trial(report)
        self.catch_up()

    @cached_property
    def _study(self) -> optuna.Study:
        return load_study(self.folder.path)  # it keeps ended trials, so that each is read once

    def catch_up(self) -> None:
        """Write every record that a tracker lacks."""
        for logger in tuple(self.loggers):
            try:
                write_missing(logger, self._study, self.folder)
            except Exception as error:  # a tracker may raise anything, and must not end a search
                self.loggers.remove(logger)
                told = printable(" ".join(str(error).split()))
                self.note(
                    f"{type(logger).__name__} failed, it is left out from here on: {told:.300}"
                )


def write_missing(logger: Logger, study: optuna.Study, folder: RunDir) -> None:
    """Write the ended trials and the final model of a study that a tracker does not have yet."""
    for trial in trials_of(study).ours:
        if trial.state.is_finished() and not logger.has(trial_name(trial)):
            logger.write(trial_record(trial, folder.tasks))
    try:
        result = read_winner(folder)
    except UserError:  # the search still runs, or nothing could be chosen
        return
    if not logger.has(final_name(result)):
        model = folder.model(result.trial)
        logger.write(final_record(result, tasks=folder.tasks, model=model))
