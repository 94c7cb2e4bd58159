"""The trackers that there are, and a running study that keeps its records in them up to date."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Protocol

import optuna

from hpsearch.errors import SpecError, UserError
from hpsearch.io.files import write_directory_atomic
from hpsearch.io.text import printable, without_secrets_of
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

_FOLDER = "tensorboard"
_TAG = "hpsearch.record"
_BATCH = 500  # metrics a request; MLflow takes up to 1,000
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # s


class Logger(Protocol):
    """Keeps records of one study."""

    def has(self, name: str) -> bool:
        """Whether it keeps a record of this name already."""

    def write(self, record: Record) -> None:
        """Keep a record. May raise anything; a search goes on without."""


class TensorBoardLogger:
    """Writes `runs/<study>/tensorboard/<record>/`, each of which appears whole.

    Args:
        study: the run directory.
    """

    def __init__(self, study: Path) -> None:
        self.folder = study / _FOLDER

    def has(self, name: str) -> bool:
        """Whether there is a folder of this record."""
        return (self.folder / name).is_dir()

    def write(self, record: Record) -> None:
        """Settings and metrics as hyperparameters, losses as scalars by step."""
        from torch.utils.tensorboard import SummaryWriter  # takes seconds, and is optional

        with (
            write_directory_atomic(self.folder / record.name) as partial,
            SummaryWriter(str(partial)) as writer,
        ):
            writer.add_hparams(dict(record.settings), dict(record.metrics), run_name=".")
            for name, curve in record.curves.items():
                for step, value in curve:
                    writer.add_scalar(name, value, step)


class MLflowLogger:
    """Writes to `MLFLOW_TRACKING_URI`, or to where MLflow writes by itself.

    Args:
        study: the run directory, whose name the experiment has.

    Raises:
        SpecError: the server does not answer, or there can be none by that name.
    """

    def __init__(self, study: Path) -> None:
        from mlflow import MlflowClient  # takes a second, and is optional

        for name, value in _PATIENCE.items():
            # By itself it would hold up a search for minutes at each trial when a server is gone.
            os.environ.setdefault(name, value)
        try:
            self.client = MlflowClient()
            known = self.client.get_experiment_by_name(study.name)
            self.experiment: str = (
                known.experiment_id if known else self.client.create_experiment(study.name)
            )
        except Exception as error:  # whatever its stores and its transport raise
            uri = os.environ.get("MLFLOW_TRACKING_URI", "")
            told = printable(" ".join(without_secrets_of(uri, str(error)).split()))
            raise SpecError(
                f"--log mlflow: {told:.300}; set MLFLOW_TRACKING_URI to a server or a SQLite file, "
                "or leave it out"
            ) from error

    @cached_property
    def _written(self) -> set[str]:
        """Names of the records that were written to their end."""
        names: set[str] = set()
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], "attributes.status = 'FINISHED'", page_token=token
            )
            names |= {run.data.tags[_TAG] for run in page if _TAG in run.data.tags}
            if not (token := page.token):
                return names

    def has(self, name: str) -> bool:
        """Whether a run of this record was written to its end."""
        return name in self._written

    def write(self, record: Record) -> None:
        """Settings as parameters, metrics and losses as metrics, the model as an artifact."""
        from mlflow.entities import Metric, Param

        run = self.client.create_run(
            self.experiment, run_name=record.name, tags={_TAG: record.name}
        )
        settings = [Param(name, str(value)) for name, value in record.settings.items()]
        self.client.log_batch(run.info.run_id, params=settings)
        now = int(time.time() * 1000)
        metrics = iter(
            [Metric(name, value, now, 0) for name, value in record.metrics.items()]
            + [
                Metric(name, value, now, step)
                for name, curve in record.curves.items()
                for step, value in curve
            ]
        )
        while batch := list(islice(metrics, _BATCH)):
            self.client.log_batch(run.info.run_id, metrics=batch)
        if record.model is not None:
            self.client.log_artifacts(run.info.run_id, str(record.model), "model")
        self.client.set_terminated(run.info.run_id)
        self._written.add(record.name)


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
        model = folder.model(result.name)
        logger.write(final_record(result, tasks=folder.tasks, model=model))
