from pathlib import Path

import pytest
from optuna.trial import TrialState

from hpsearch.errors import SpecError
from hpsearch.reports.trackers import logged as room
from hpsearch.reports.trackers.logged import LoggingListener, logged, open_loggers, write_missing
from hpsearch.reports.trackers.record import Record, final_record, trial_record
from hpsearch.storage.database import load_study
from hpsearch.storage.results import read_result
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.result import read_winner
from tests.hpsearch.notes import Notes


class ListLogger:
    """Keeps records in a list; `broken` raises at the first."""

    def __init__(self, *, broken: bool = False) -> None:
        self.records: list[Record] = []
        self.broken = broken

    def has(self, name: str) -> bool:
        return name in {record.name for record in self.records}

    def write(self, record: Record) -> None:
        if self.broken:
            raise ConnectionError("no route\nto host")
        self.records.append(record)


def test_a_trial_is_its_settings_folds_and_curves(two_trials: RunDir) -> None:
    (trial, *_) = load_study(two_trials.path).get_trials(states=(TrialState.COMPLETE,))
    record = trial_record(trial, two_trials.tasks)
    assert record.name == "trial-0000"
    assert record.settings == trial.params
    assert record.metrics["criterion/weak"] == trial.value
    assert [record.metrics[f"fold-{fold}/auroc"] for fold in range(3)] == trial.user_attrs[
        "fold_aurocs"
    ]
    stored = read_result(two_trials.tasks, trial.user_attrs["tasks"][2])
    assert stored is not None
    steps = [step for step, _ in record.curves["fold-2/train_loss"]]
    assert steps == stored.curve["step"].tolist() != []


def test_the_final_model_is_its_figures_and_its_folder(two_trials: RunDir) -> None:
    result = read_winner(two_trials)
    record = final_record(result, tasks=two_trials.tasks, model=two_trials.final)
    assert record.name == f"final-{result.trial:04d}"
    assert record.metrics["test/auroc"] == result.test.auroc
    assert record.metrics["test/auroc_low"] <= record.metrics["test/auroc_high"]
    assert record.model == two_trials.final


def test_records_are_written_once(two_trials: RunDir) -> None:
    logger = ListLogger()
    write_missing(logger, load_study(two_trials.path), two_trials)
    names = [record.name for record in logger.records]
    assert names[:2] == ["trial-0000", "trial-0001"]
    assert names[-1].startswith("final-")
    write_missing(logger, load_study(two_trials.path), two_trials)
    assert [record.name for record in logger.records] == names


def test_a_tracker_that_fails_is_told_of_once(
    two_trials: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, listener = ListLogger(), Notes()
    monkeypatch.setattr(room, "open_loggers", lambda *_: [ListLogger(broken=True), good])
    with logged(listener, ["either"], two_trials.path) as both:
        both.catch_up()  # type: ignore[attr-defined]
    assert listener.lines == ["ListLogger failed, it is left out from here on: no route to host"]
    assert good.has("trial-0000")


def test_without_a_name_nothing_is_logged(two_trials: RunDir) -> None:
    listener = Notes()
    with logged(listener, (), two_trials.path) as same:
        assert same is listener


def test_tensorboard_reads_what_was_written(two_trials: RunDir) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs hpsearch[tensorboard]",
    )
    (logger,) = open_loggers(["tensorboard"], two_trials.path)
    write_missing(logger, load_study(two_trials.path), two_trials)
    written = sorted(path.name for path in (two_trials.path / "tensorboard").iterdir())
    assert written[-2:] == ["trial-0000", "trial-0001"]
    events = accumulator.EventAccumulator(str(two_trials.path / "tensorboard" / "trial-0001"))
    events.Reload()
    trial = load_study(two_trials.path).trials[1]
    record = trial_record(trial, two_trials.tasks)
    found = [(event.step, event.value) for event in events.Scalars("fold-0/train_loss")]
    assert found == [
        (step, pytest.approx(value)) for step, value in record.curves["fold-0/train_loss"]
    ]
    assert events.Scalars("criterion/weak")[0].value == pytest.approx(trial.value)


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # in MLflow's own tables
def test_mlflow_reads_what_was_written(
    two_trials: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow", reason="needs hpsearch[mlflow]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (logger,) = open_loggers(["mlflow"], two_trials.path)
    for _ in range(2):
        write_missing(logger, load_study(two_trials.path), two_trials)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(two_trials.path.name)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    trials = load_study(two_trials.path).get_trials(states=(TrialState.COMPLETE,))
    assert len(client.search_runs([experiment.experiment_id])) == len(runs) == len(trials) + 1
    first = runs["trial-0000"]
    assert first.data.params == {name: str(value) for name, value in trials[0].params.items()}
    assert first.data.metrics["criterion/weak"] == trials[0].value
    history = client.get_metric_history(first.info.run_id, "fold-0/train_loss")
    assert len(history) == len(
        trial_record(trials[0], two_trials.tasks).curves["fold-0/train_loss"]
    )
    final = runs[f"final-{read_winner(two_trials).trial:04d}"]
    names = {item.path for item in client.list_artifacts(final.info.run_id, "model")}
    assert "model/model.json" in names


def test_a_server_that_does_not_answer_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("mlflow", reason="needs hpsearch[mlflow]")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(SpecError, match=r"--log mlflow: .*; set MLFLOW_TRACKING_URI") as caught:
        open_loggers(["mlflow"], tmp_path / "study")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:canary@127.0.0.1:9",
        "http://user:can@canary/x?@127.0.0.1:9",
        "http://user:canary@[::1",
        "foo://user:canary@host",
        "mysql+nodriver://user:canary@h/db",
        "http://127.0.0.1:9/?token=canary",
    ],
)
def test_no_error_of_mlflow_shows_its_password(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    pytest.importorskip("mlflow", reason="needs hpsearch[mlflow]")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SpecError, match=r"^--log mlflow: .+; set MLFLOW_TRACKING_URI") as caught:
        open_loggers(["mlflow"], tmp_path / "study")
    assert "canary" not in str(caught.value)
    assert "canary" not in caplog.text


def test_a_tracker_that_fails_later_shows_no_password(two_trials: RunDir) -> None:
    class Leaky(ListLogger):
        def write(self, record: Record) -> None:
            raise ConnectionError("POST http://user:canary@host/api failed")

    notes = Notes()
    LoggingListener(notes, [Leaky()], two_trials).catch_up()
    assert notes.lines == [
        "Leaky failed, it is left out from here on: POST http://***@host/api failed"
    ]


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_what_is_not_there_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.reports.trackers.logged.find_spec", lambda _: None)
    with pytest.raises(SpecError, match=f"--log .*{name}"):
        open_loggers([name], tmp_path / "study")
    assert not list(tmp_path.iterdir())
