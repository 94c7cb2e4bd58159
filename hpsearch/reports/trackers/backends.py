"""The trackers that there are: TensorBoard and MLflow, each imported when it is asked for."""

import os
import time
from functools import cached_property
from itertools import islice
from pathlib import Path

from hpsearch.errors import SpecError
from hpsearch.io.files import printable, without_secrets_of, write_directory_atomic
from hpsearch.reports.trackers.record import Record

_FOLDER = "tensorboard"


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


_TAG = "hpsearch.record"
_BATCH = 500  # metrics a request; MLflow takes up to 1,000
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}  # s


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
