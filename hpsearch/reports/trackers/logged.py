"""A running study that keeps its records up to date."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import optuna

from hpsearch.errors import UserError
from hpsearch.io.files import printable
from hpsearch.reports.trackers.logger import Logger, open_loggers
from hpsearch.reports.trackers.record import final_name, final_record, trial_name, trial_record
from hpsearch.search.events import Listener, TrialReport
from hpsearch.storage.database import load_study
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import trials_of
from hpsearch.study.result import read_winner


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
