"""The search with real Optuna on SQLite, and trainings that cost nothing."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState
from sqlalchemy import event

from hpsearch.engine import Finished
from hpsearch.errors import TaskError
from hpsearch.final import winner
from hpsearch.listener import SilentListener, TrialReport
from hpsearch.records import FoldRecords
from hpsearch.results import FoldResult
from hpsearch.search import CONFIG, Search, SearchPlan
from hpsearch.space import Params, SearchSpace
from hpsearch.spec import TrainingSpec
from hpsearch.storage import DATABASE, create_or_load_study, open_database
from hpsearch.task import Task

FOLDS = 2
SPACE = SearchSpace({"width": (4, 16, 64), "layer": ("r32",)})
AUROCS = {4: (0.7, 0.8), 16: (0.9, 0.85), 64: (0.6, 0.5)}


class Killed(BaseException):
    """Stands for kill -9."""


class Bomb:
    """Goes off at the tick number `at`."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.ticks = 0

    def tick(self, *_: Any) -> None:
        self.ticks += 1
        if self.ticks == self.at:
            raise Killed


class Trainings:
    """An engine of two workers that trains by looking the AUC up; `stored` is the disk."""

    def __init__(self) -> None:
        self.stored: dict[str, FoldResult] = {}
        self.started: list[Task] = []
        self.finished: list[str] = []
        self.fails: Callable[[Task], TaskError | None] = lambda task: None
        self.bomb = Bomb()
        self.under_way: list[Task] = []
        self.beside: list[Counter[Any]] = []  # configurations under way after each submission

    @property
    def idle(self) -> int:
        return 2 - len(self.under_way)

    def submit(self, task: Task) -> None:
        self.bomb.tick()
        self.started.append(task)
        self.under_way.append(task)
        self.beside.append(Counter(other.params["width"] for other in self.under_way))

    def wait(self) -> list[Finished]:
        self.bomb.tick()
        task = self.under_way.pop()  # the last comes first: folds end in any order
        error = self.fails(task)
        if error is not None:
            return [Finished(task, error)]
        self.finished.append(task.digest)
        result = self.stored[task.digest] = _result(task)
        self.bomb.tick()
        return [Finished(task, result)]

    def close(self) -> None:
        self.under_way.clear()


def _task(params: Params, fold: int) -> Task:
    return Task(
        detector="fake",
        params=params,
        training=TrainingSpec(),
        backbone_digest="b",
        data_fingerprint="d",
        fold=fold,
        n_folds=FOLDS,
        split_seed=0,
        seed=0,
    )


def _result(task: Task) -> FoldResult:
    return FoldResult(
        digest=task.digest,
        scores=pd.DataFrame(),
        best_step=10,
        best_loss=AUROCS[int(task.params["width"])][task.fold or 0],
        curve=pd.DataFrame(),
        seconds=1.0,
        peak_memory_mb=1.0,
        device="cpu",
    )


def _objective(result: FoldResult, fold: int) -> float:
    return float(result.best_loss or 0.0)


class Listener(SilentListener):
    def __init__(self) -> None:
        self.reports: list[TrialReport] = []
        self.shown: list[tuple[int, int]] = []

    def trial(self, report: TrialReport) -> None:
        self.reports.append(report)

    def progress(self, what: str, done: int, total: int) -> None:
        self.shown.append((done, total))


class Desk:
    """One study on disk, searched again and again by new processes, so to speak."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = Trainings()
        self.listener = Listener()
        self.sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=0)
        self.pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()

    def search(self, bomb: Bomb | None = None, **changes: Any) -> optuna.Study:
        bomb = self.engine.bomb = bomb or Bomb()
        self.engine.under_way.clear()
        study = create_or_load_study(self.folder, "study", pruner=self.pruner)
        study.sampler = self.sampler
        database = open_database(self.folder)
        storage: Any = study._storage
        for engine in (storage._backend.engine, database):
            event.listen(engine, "commit", bomb.tick)
        try:
            plan = {"n_trials": 3, "n_folds": FOLDS, "exhaustive": True, "pruning": False}
            Search(
                study,
                SearchPlan(**{"space": SPACE, **plan, **changes}),
                make_task=_task,
                known=lambda task: self.engine.stored.get(task.digest),
                objective=_objective,  # type: ignore[arg-type]
                engine=self.engine,
                records=FoldRecords(database),
                listener=self.listener,
            ).run()
        finally:
            database.dispose()
            storage.remove_session()
            storage._backend.engine.dispose()
        return create_or_load_study(self.folder, "study", pruner=self.pruner)

    def rows(self) -> list[tuple[int, int, float]]:
        database = open_database(self.folder)
        records = FoldRecords(database)
        rows = [row for trial in range(10) for row in records.of_trial(trial)]
        database.dispose()
        return [(row.trial, row.fold, row.auroc) for row in rows]


@pytest.fixture
def desk(quick_disk: Path) -> Desk:
    return Desk(quick_disk)


def _outcome(study: optuna.Study) -> dict[str, tuple[Any, ...]]:
    trials = study.get_trials(deepcopy=False)
    return {
        trial.user_attrs[CONFIG]: (
            trial.params,
            trial.state,
            trial.value,
            trial.user_attrs["fold_aurocs"],
            trial.user_attrs["best_steps"],
            trial.user_attrs["tasks"],
        )
        for trial in trials
    }


def _states(study: optuna.Study) -> Counter[str]:
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


def test_every_point_of_the_grid_once(desk: Desk) -> None:
    study = desk.search()
    trials = study.get_trials()
    assert [trial.params for trial in trials] == SPACE.grid
    assert [trial.value for trial in trials] == pytest.approx([0.75, 0.875, 0.55])
    assert [trial.user_attrs["fold_aurocs"] for trial in trials] == [
        list(folds) for folds in AUROCS.values()
    ]
    assert len(desk.engine.started) == 3 * FOLDS
    assert winner(study).params == {"width": 16, "layer": "r32"}
    assert desk.rows() == [
        (trial, fold, auroc)
        for trial, folds in enumerate(AUROCS.values())
        for fold, auroc in enumerate(folds)
    ]
    assert desk.listener.shown[-1] == (6, 6)
    assert sorted(desk.listener.shown) == desk.listener.shown


def test_searching_again_runs_nothing(desk: Desk) -> None:
    before = _outcome(desk.search())
    desk.engine.started.clear()
    assert _outcome(desk.search()) == before
    assert not desk.engine.started


def test_a_failure_ends_its_trial_and_no_other(desk: Desk) -> None:
    def fails(task: Task) -> TaskError | None:
        bad = task.params["width"] == 16 and task.fold == 1
        return TaskError("non_finite", "NaN at step 7") if bad else None

    desk.engine.fails = fails
    study = desk.search()
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "FAIL", "COMPLETE"]
    failed = study.get_trials()[1]
    assert failed.user_attrs["failure"] == "non_finite"
    assert failed.user_attrs["failure_message"] == "NaN at step 7"
    assert [report.failure for report in desk.listener.reports if report.state == "failed"] == [
        "non_finite"
    ]
    assert winner(study).params["width"] == 4
    desk.engine.started.clear()
    desk.search()
    assert not desk.engine.started, "a failed configuration is not tried again"


class BelowIsPruned(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.intermediate_values[trial.last_step or 0] < 0.65


def test_a_pruned_trial_gets_no_more_folds(desk: Desk) -> None:
    desk.pruner = BelowIsPruned()
    study = desk.search(pruning=True)
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "COMPLETE", "PRUNED"]
    folds = Counter(task.params["width"] for task in desk.engine.started)
    assert folds == {4: 2, 16: 2, 64: 1}
    assert all(max(widths.values()) == 1 for widths in desk.engine.beside), "one fold a trial"
    assert study.get_trials()[2].user_attrs["fold_aurocs"] == [0.6]
    assert desk.listener.shown[-1] == (6, 6)


def test_a_kill_with_pruning_is_taken_up_where_it_was(desk: Desk) -> None:
    desk.pruner = BelowIsPruned()
    with pytest.raises(Killed):
        desk.search(Bomb(60), pruning=True)
    assert desk.engine.stored
    study = desk.search(pruning=True)
    assert _states(study) == {"COMPLETE": 2, "PRUNED": 1}
    assert max(Counter(desk.engine.finished).values()) == 1


@pytest.mark.slow
def test_a_kill_anywhere_loses_nothing(quick_disk: Path) -> None:
    undisturbed = Desk(_fresh(quick_disk, "undisturbed"))
    study = undisturbed.search(bomb := Bomb(), n_trials=2)
    expected, best = _outcome(study), winner(study).number
    assert bomb.ticks > 40
    empty = _fresh(quick_disk, "empty")
    create_or_load_study(empty, "study", pruner=optuna.pruners.NopPruner())
    for at in range(1, bomb.ticks + 1):
        folder = quick_disk / str(at)
        shutil.copytree(empty, folder)
        desk = Desk(folder)
        with pytest.raises(Killed):
            desk.search(Bomb(at), n_trials=2)
        study = desk.search(n_trials=2)
        assert _outcome(study) == expected, f"killed at {at}"
        assert len(study.get_trials()) == 2
        assert winner(study).number == best
        assert max(Counter(desk.engine.finished).values()) == 1, f"trained twice, killed at {at}"
        assert desk.rows() == undisturbed.rows()
        shutil.rmtree(folder)


def _fresh(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def test_a_lost_database_is_filled_from_the_stored_results(desk: Desk) -> None:
    before, rows = _outcome(desk.search()), desk.rows()
    (desk.folder / DATABASE).unlink()
    desk.engine.started.clear()
    assert _outcome(desk.search()) == before
    assert desk.rows() == rows
    assert not desk.engine.started


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_configuration_drawn_again_is_not_trained_again(desk: Desk, sampler: str) -> None:
    desk.sampler = {
        "random": optuna.samplers.RandomSampler(seed=1),
        "tpe": optuna.samplers.TPESampler(seed=1, n_startup_trials=3),
    }[sampler]
    study = desk.search(exhaustive=False, n_trials=9)
    assert _states(study) == {"COMPLETE": 9}
    assert max(Counter(task.digest for task in desk.engine.started).values()) == 1
    for trial in study.get_trials():
        assert trial.user_attrs["fold_aurocs"] == list(AUROCS[trial.params["width"]])


def test_after_the_timeout_no_fold_is_started(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = desk.engine
    clock = SimpleNamespace(monotonic=lambda: 100.0 * len(engine.finished))
    monkeypatch.setattr("hpsearch.search.time", clock)
    study = desk.search(timeout=150)
    assert len(engine.finished) == 3, "two were under way when the first ended, one came after it"
    assert not engine.under_way
    assert _states(study)["COMPLETE"] < 3
    before = len(engine.finished)
    study = desk.search()
    assert _states(study) == {"COMPLETE": 3}
    assert len(engine.finished) == 6
    assert before < 6
    assert max(Counter(engine.finished).values()) == 1


def test_more_trials_go_on_where_fewer_ended(desk: Desk) -> None:
    assert _states(desk.search(n_trials=1)) == {"COMPLETE": 1}
    study = desk.search(n_trials=3)
    assert [trial.params for trial in study.get_trials()] == SPACE.grid
    assert max(Counter(desk.engine.finished).values()) == 1
    random = desk.search(exhaustive=False, n_trials=5)
    assert _states(random) == {"COMPLETE": 5}


def test_folds_end_in_any_order_to_the_same_bit(desk: Desk) -> None:
    """0.1 + 0.2 + 0.3 hangs on the order of the terms; a tie between trials must not."""
    space = SearchSpace({"width": (1, 2)})
    aurocs = {1: (0.1, 0.2, 0.3), 2: (0.3, 0.2, 0.1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(AUROCS, 1, aurocs[1])
        patch.setitem(AUROCS, 2, aurocs[2])
        study = desk.search(space=space, n_trials=2, n_folds=3)
    one, two = study.get_trials()
    assert one.value == two.value
    assert winner(study).number == 0


def test_a_running_trial_that_was_never_described_is_taken_up(desk: Desk) -> None:
    study = create_or_load_study(desk.folder, "study", pruner=desk.pruner)
    study.ask()  # killed before anything else
    study = desk.search(exhaustive=False, n_trials=2)
    assert _states(study) == {"COMPLETE": 2}
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
