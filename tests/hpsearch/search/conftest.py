"""A study on disk with real Optuna and SQLite, and trainings that cost nothing."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from sqlalchemy import event

from hpsearch.config.space import Params, SearchSpace
from hpsearch.config.spec import CRITERIA, TrainingSpec, Values
from hpsearch.errors import TaskError
from hpsearch.search.engine import Finished
from hpsearch.search.events import SilentListener, TrialReport
from hpsearch.search.search import Search, SearchPlan
from hpsearch.search.task import Task
from hpsearch.storage.database import FoldRecords, create_or_load_study, open_database
from hpsearch.storage.results import FoldResult

FOLDS = 2
AUROCS = {4: (0.7, 0.8), 16: (0.9, 0.85), 64: (0.6, 0.5)}  # of each width, by fold


class Killed(BaseException):
    """Stands for kill -9."""


class Bomb:
    """Goes off at the tick number `at`."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.ticks = 0

    def tick(self, *_: Any) -> None:
        self.ticks += 1
        if self.ticks == self.at:
            raise Killed


class Trainings:
    """An engine of two workers that train in no time; `stored` is the disk."""

    def __init__(self) -> None:
        self.stored: dict[str, FoldResult] = {}
        self.started: list[Task] = []
        self.finished: list[str] = []
        self.fails: Callable[[Task], TaskError | None] = lambda task: None
        self.hangs: Callable[[Task], bool] = lambda task: False
        self.seconds = 0.0  # on its clock: a training takes 100
        self.bomb = Bomb(None)
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

    def wait(self, timeout: float | None = None) -> list[Finished]:
        self.bomb.tick()
        ending = [task for task in self.under_way if not self.hangs(task)]
        if not ending:
            assert timeout is not None, "it hangs for ever"
            self.seconds += timeout
            return []
        self.seconds += 100
        task = ending[-1]  # the last comes first: folds end in any order
        self.under_way.remove(task)
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
    """Its best loss is the width, by which the desk looks its values up."""
    width, nothing = float(task.params["width"]), pd.DataFrame()
    return FoldResult(task.digest, nothing, 10, width, nothing, 1.0, 1.0, "cpu")


class Listener(SilentListener):
    def __init__(self) -> None:
        self.reports: list[TrialReport] = []
        self.shown: list[tuple[int, int]] = []
        self.notes: list[str] = []

    def trial(self, report: TrialReport) -> None:
        self.reports.append(report)

    def progress(self, what: str, done: int, total: int) -> None:
        self.shown.append((done, total))

    def note(self, message: str) -> None:
        self.notes.append(message)


class Desk:
    """One study on disk, searched again and again by new processes, so to speak."""

    n_folds = FOLDS

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.space = SearchSpace({"fake": {"width": tuple(AUROCS), "layer": ("r32",)}})
        self.aurocs = dict(AUROCS)
        self.engine = Trainings()
        self.listener = Listener()
        self.sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=0)
        self.pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        self.read: optuna.Study  # as it was on disk after the last search
        self.ticks = 0  # moments of the last search at which it might have been killed

    def create(self) -> optuna.Study:
        return create_or_load_study(self.folder, "study", pruner=self.pruner)

    def values(self, result: FoldResult, fold: int) -> Values:
        """By `unsupervised` the narrowest is the best, by `synthetic` the widest."""
        width = int(result.best_loss or 0)
        return {
            "weak": self.aurocs[width][fold],
            "unsupervised": -float(width + fold),
            "synthetic": (width + fold) / 100,
        }

    def search(self, *, kill_at: int | None = None, **changes: Any) -> optuna.Study:
        bomb = self.engine.bomb = Bomb(kill_at)
        self.engine.under_way.clear()
        study, database = self.create(), open_database(self.folder)
        study.sampler = self.sampler
        storage: Any = study._storage
        for engine in (storage._backend.engine, database):
            event.listen(engine, "commit", bomb.tick)
        space = changes.get("space", self.space)
        plan = {"criterion": "weak", "labelled": "all", "n_trials": 3, "n_folds": FOLDS}
        plan |= {"exhaustive": True, "pruning": False}
        try:
            Search(
                study,
                SearchPlan(**{"space": self.space, **plan, **changes}),
                make_task=lambda params, fold: _task(space.configuration(params)[1], fold),
                known=lambda task: self.engine.stored.get(task.digest),
                criteria=self.values,  # type: ignore[arg-type]
                engine=self.engine,
                records=FoldRecords(database),
                listener=self.listener,
            ).run()
        finally:
            self.ticks = bomb.ticks
            database.dispose()
            storage.remove_session()
            storage._backend.engine.dispose()
        self.read = self.create()
        return self.read

    def kill(self, at: int, **changes: Any) -> None:
        """Search until the tick number `at`."""
        with pytest.raises(Killed):
            self.search(kill_at=at, **changes)

    def rows(self) -> list[tuple[int, int, dict[str, float]]]:
        database = open_database(self.folder)
        records = FoldRecords(database)
        rows = [row for trial in range(10) for row in records.of_trial(trial)]
        database.dispose()
        return [(row.trial, row.fold, dict(row.values)) for row in rows]

    def outcome(self) -> dict[str, tuple[Any, ...]]:
        """What the last search left on disk, by configuration."""
        facts = (*CRITERIA, "fold_values", "fold_aurocs", "best_steps", "tasks")
        return {
            trial.user_attrs["config_digest"]: (
                trial.params,
                trial.state,
                trial.value,
                *(trial.user_attrs[name] for name in facts),
            )
            for trial in self.read.get_trials(deepcopy=False)
        }

    def states(self) -> Counter[str]:
        return Counter(trial.state.name for trial in self.create().get_trials(deepcopy=False))


@pytest.fixture
def desk(quick_disk: Path) -> Desk:
    return Desk(quick_disk)


@pytest.fixture
def desk_in() -> type[Desk]:
    """Makes a desk of its own in a folder."""
    return Desk


class BelowIsPruned(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.intermediate_values[trial.last_step or 0] < 0.65


@pytest.fixture
def pruner() -> optuna.pruners.BasePruner:
    """Ends the trials whose mean so far is below 0.65: of the three, the widest."""
    return BelowIsPruned()
