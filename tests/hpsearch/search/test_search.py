"""What a search runs, in which order, and what it keeps."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from hpsearch.config.space import SearchSpace
from hpsearch.config.spec import CRITERIA
from hpsearch.errors import TaskError
from hpsearch.search.task import Task
from hpsearch.storage.database import winner

Desk = Any  # of conftest.py, which tests cannot import from


def test_every_point_of_the_grid_once(desk: Desk) -> None:
    study = desk.search()
    trials = study.get_trials()
    assert [trial.params for trial in trials] == desk.space.grid
    assert [trial.value for trial in trials] == pytest.approx([0.75, 0.875, 0.55])
    assert [trial.user_attrs["fold_aurocs"] for trial in trials] == [
        list(folds) for folds in desk.aurocs.values()
    ]
    assert len(desk.engine.started) == 3 * desk.n_folds
    assert winner(study, "weak").params == {"width": 16, "layer": "r32"}
    assert [(trial, fold, values["weak"]) for trial, fold, values in desk.rows()] == [
        (trial, fold, auroc)
        for trial, folds in enumerate(desk.aurocs.values())
        for fold, auroc in enumerate(folds)
    ]
    assert desk.listener.shown[-1] == (6, 6)
    assert sorted(desk.listener.shown) == desk.listener.shown


@pytest.mark.parametrize(
    ("criterion", "values", "width"),
    [
        ("weak", [0.75, 0.875, 0.55], 16),
        ("unsupervised", [-4.5, -16.5, -64.5], 4),
        ("synthetic", [0.045, 0.165, 0.645], 64),
    ],
)
def test_the_criterion_of_the_study_is_maximised(
    criterion: Any, values: list[float], width: int, desk: Desk
) -> None:
    study = desk.search(criterion=criterion)
    trials = study.get_trials()
    assert [trial.value for trial in trials] == pytest.approx(values)
    assert study.best_trial.params["width"] == width
    reports = {report.number: report for report in desk.listener.reports}
    for trial in trials:
        report = reports[trial.number]
        assert trial.intermediate_values[1] in report.fold_values
        assert (report.criterion, report.value) == (criterion, trial.value)
        assert list(report.fold_values) == trial.user_attrs["fold_values"][criterion]


def test_every_criterion_is_kept_whichever_chooses(desk: Desk) -> None:
    study = desk.search(criterion="synthetic")
    assert [winner(study, criterion).params["width"] for criterion in CRITERIA] == [16, 4, 64]
    trial = study.get_trials()[1]
    assert trial.user_attrs["fold_values"] == {
        "weak": [0.9, 0.85],
        "unsupervised": [-16.0, -17.0],
        "synthetic": [0.16, 0.17],
    }
    assert trial.user_attrs["fold_aurocs"] == [0.9, 0.85]
    (report,) = (report for report in desk.listener.reports if report.number == 1)
    assert report.criteria == {criterion: trial.user_attrs[criterion] for criterion in CRITERIA}
    assert desk.rows()[3] == (1, 1, {"weak": 0.85, "unsupervised": -17.0, "synthetic": 0.17})


def test_the_best_so_far_is_told_also_after_a_restart(desk: Desk) -> None:
    desk.aurocs[64] = (0.7, 0.75)  # less than 16 has, and found by another process
    desk.search(n_trials=2)
    desk.search(n_trials=3)
    reports = desk.listener.reports
    values = [report.value or 0.0 for report in reports]
    assert [report.best for report in reports] == [
        value > max(values[:place], default=0.0) for place, value in enumerate(values)
    ]
    assert reports[-1].params["width"] == 64
    assert not reports[-1].best


def test_a_tie_is_not_called_the_best(desk: Desk) -> None:
    desk.aurocs[16] = desk.aurocs[4]
    desk.search()
    alike = [report for report in desk.listener.reports if report.params["width"] != 64]
    assert [report.value for report in alike] == pytest.approx([0.75, 0.75])
    assert [report.best for report in alike] == [True, False]


def test_searching_again_runs_nothing(desk: Desk) -> None:
    desk.search()
    before = desk.outcome()
    desk.engine.started.clear()
    desk.search()
    assert desk.outcome() == before
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
    assert winner(study, "weak").params["width"] == 4
    desk.engine.started.clear()
    desk.search()
    assert not desk.engine.started, "a failed configuration is not tried again"


def test_a_pruned_trial_gets_no_more_folds(desk: Desk, pruner: optuna.pruners.BasePruner) -> None:
    desk.pruner = pruner
    study = desk.search(pruning=True)
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "COMPLETE", "PRUNED"]
    folds = Counter(task.params["width"] for task in desk.engine.started)
    assert folds == {4: 2, 16: 2, 64: 1}
    assert all(max(widths.values()) == 1 for widths in desk.engine.beside), "one fold a trial"
    assert study.get_trials()[2].user_attrs["fold_aurocs"] == [0.6]
    assert study.get_trials()[2].user_attrs["synthetic"] == 0.64
    assert desk.listener.shown[-1] == (6, 6)


def test_the_pruner_is_told_the_mean_of_the_folds_so_far(
    desk: Desk, pruner: optuna.pruners.BasePruner
) -> None:
    """The second fold alone would end the first trial, and its last one would save the second."""
    desk.pruner = pruner  # below 0.65
    desk.aurocs = {4: (0.9, 0.6, 0.7), 16: (0.7, 0.5, 0.9)}
    space = SearchSpace({"fake": {"width": (4, 16)}})
    study = desk.search(space=space, n_trials=2, n_folds=3, pruning=True)
    first, second = study.get_trials()
    assert (first.state.name, second.state.name) == ("COMPLETE", "PRUNED")
    assert first.intermediate_values == pytest.approx({1: 0.9, 2: 0.75})
    assert second.intermediate_values == pytest.approx({1: 0.7, 2: 0.6})


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_configuration_drawn_again_is_not_trained_again(desk: Desk, sampler: str) -> None:
    desk.sampler = {
        "random": optuna.samplers.RandomSampler(seed=1),
        "tpe": optuna.samplers.TPESampler(seed=1, n_startup_trials=3),
    }[sampler]
    study = desk.search(exhaustive=False, n_trials=9)
    assert desk.states() == {"COMPLETE": 9}
    assert max(Counter(task.digest for task in desk.engine.started).values()) == 1
    for trial in study.get_trials():
        assert trial.user_attrs["fold_aurocs"] == list(desk.aurocs[trial.params["width"]])


def test_after_the_timeout_no_fold_is_started(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = desk.engine
    clock = SimpleNamespace(monotonic=lambda: 100.0 * len(engine.finished))
    monkeypatch.setattr("hpsearch.search.search.time", clock)
    desk.search(timeout=150)
    assert len(engine.finished) == 3, "two were under way when the first ended, one came after it"
    assert not engine.under_way
    assert desk.states()["COMPLETE"] < 3
    before = len(engine.finished)
    desk.search()
    assert desk.states() == {"COMPLETE": 3}
    assert len(engine.finished) == 6
    assert before < 6
    assert max(Counter(engine.finished).values()) == 1


def test_more_trials_go_on_where_fewer_ended(desk: Desk) -> None:
    desk.search(n_trials=1)
    assert desk.states() == {"COMPLETE": 1}
    study = desk.search(n_trials=3)
    assert [trial.params for trial in study.get_trials()] == desk.space.grid
    assert max(Counter(desk.engine.finished).values()) == 1
    desk.search(exhaustive=False, n_trials=5)
    assert desk.states() == {"COMPLETE": 5}


def test_folds_end_in_any_order_to_the_same_bit(desk: Desk) -> None:
    """0.1 + 0.2 + 0.3 hangs on the order of the terms; a tie between trials must not."""
    desk.aurocs = {1: (0.1, 0.2, 0.3), 2: (0.3, 0.2, 0.1)}
    study = desk.search(space=SearchSpace({"fake": {"width": (1, 2)}}), n_trials=2, n_folds=3)
    one, two = study.get_trials()
    assert one.value == two.value
    assert winner(study, "weak").number == 0


SEVERAL = SearchSpace({"cheap": {"width": (4, 16)}, "trained": {"width": (4, 16, 64)}})


def test_after_the_cheap_configurations_one_detector_is_drawn_until_the_trials_are_used(
    desk: Desk,
) -> None:
    cheap = [point for point in SEVERAL.grid if point["detector"] == "cheap"]
    plan = {"points": cheap, "then": "trained", "exhaustive": False}
    desk.search(space=SEVERAL, n_trials=4, **plan)
    tried = [trial.params for trial in desk.read.get_trials()]
    assert tried[:2] == cheap
    assert [params["detector"] for params in tried[2:]] == ["trained", "trained"]
    desk.search(space=SEVERAL, n_trials=5, **plan)  # goes on, and tries nothing first again
    assert [trial.params for trial in desk.read.get_trials()][:4] == tried
    assert [trial.params["detector"] for trial in desk.read.get_trials()][4:] == ["trained"]


def test_a_kill_while_one_detector_is_drawn_loses_no_trial(desk: Desk, desk_in: Any) -> None:
    plan = {"points": SEVERAL.grid[:2], "then": "trained", "exhaustive": False, "n_trials": 4}
    desk.search(space=SEVERAL, **plan)
    for at in range(1, desk.ticks, 8):
        other = desk_in(desk.folder / str(at))
        other.kill(at, space=SEVERAL, **plan)
        other.search(space=SEVERAL, **plan)
        assert other.states() == {"COMPLETE": 4}
        assert Counter(len(t.params) for t in other.read.get_trials()) == {2: 4}


def test_configurations_that_cannot_differ_are_trained_once(desk: Desk) -> None:
    def canonical(detector: str, params: Any) -> Any:
        return {**params, "greyscale": False}

    axes = {"width": (4, 16), "greyscale": (False, True)}
    space = SearchSpace({"fake": axes}, canonical)
    desk.search(space=space, n_trials=len(space.grid))
    assert [trial.params["greyscale"] for trial in desk.read.get_trials()] == [False, False]
    desk.search(space=space, n_trials=8, exhaustive=False)  # draws some again
    assert len(desk.read.get_trials()) == 8
    assert len(desk.engine.started) == 2 * desk.n_folds
