"""What becomes of failed trials, hanging trainings, and trials that another program ended."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpsearch.errors import FailureReason, TaskError
from hpsearch.search.search import GRACE_SECONDS
from hpsearch.search.task import Task
from hpsearch.storage.database import winner
from hpsearch.storage.trials import trials_of

Desk = Any  # of conftest.py, which tests cannot import from


def _fails(desk: Desk, reason: FailureReason, width: int = 16) -> None:
    """Fold 1 of the width fails from here on."""
    error = TaskError(reason, "why", ("line one", "line two"))

    def fails(task: Task) -> TaskError | None:
        return error if (task.params["width"], task.fold) == (width, 1) else None

    desk.engine.fails = fails


def _works(desk: Desk) -> None:
    desk.engine.fails = lambda task: None
    desk.engine.started.clear()
    desk.listener.notes.clear()


def test_the_reason_and_the_last_lines_are_kept(desk: Desk) -> None:
    _fails(desk, "error")
    (failed,) = trials_of(desk.search()).failed
    facts = failed.user_attrs
    assert (facts["failure"], facts["failure_message"]) == ("error", "why")
    assert facts["failure_traceback"] == ["line one", "line two"]
    (report,) = (report for report in desk.listener.reports if report.state == "failed")
    assert (report.failure, report.failure_message) == ("error", "why")


@pytest.mark.parametrize("reason", ["worker_lost", "out_of_memory", "disk_full"])
def test_a_cause_of_the_environment_is_tried_again_by_the_next_run(
    reason: FailureReason, desk: Desk
) -> None:
    _fails(desk, reason)
    desk.search()
    _works(desk)
    study = desk.search()
    assert [(task.params["width"], task.fold) for task in desk.engine.started] == [(16, 1)]
    by_state = trials_of(study)
    assert [trial.params["width"] for trial in by_state.completed] == [4, 64, 16]
    assert [trial.number for trial in by_state.retried] == by_state.completed[-1].user_attrs[
        "retry_of"
    ]
    assert not by_state.failed
    assert len(by_state.ended) == 3
    assert winner(study, "weak").params["width"] == 16
    assert [(row[0], row[1]) for row in desk.rows()] == [
        (0, 0),
        (0, 1),
        (2, 0),
        (2, 1),
        (3, 0),
        (3, 1),
    ]
    assert desk.listener.notes == [f"trial 1 is tried again: {reason}: why"]
    assert desk.listener.shown[-1] == (6, 6)
    _works(desk)
    desk.search()
    assert not desk.engine.started


@pytest.mark.parametrize("reason", ["non_finite", "timeout", "bad_output", "error"])
def test_another_failure_is_tried_again_only_when_told_to(
    reason: FailureReason, desk: Desk
) -> None:
    _fails(desk, reason)
    desk.search()
    _works(desk)
    assert len(trials_of(desk.search()).failed) == 1
    assert not desk.engine.started
    by_state = trials_of(desk.search(retry_failed=True))
    assert [(task.params["width"], task.fold) for task in desk.engine.started] == [(16, 1)]
    assert (len(by_state.completed), len(by_state.failed)) == (3, 0)
    _works(desk)
    desk.search(retry_failed=True)
    assert not desk.engine.started, "a completed configuration has no second result"


def test_after_three_attempts_it_is_left_unless_told_to(desk: Desk) -> None:
    _fails(desk, "worker_lost")
    for _ in range(5):
        by_state = trials_of(desk.search())
    assert (len(by_state.failed), len(by_state.retried)) == (1, 2)
    assert len(trials_of(desk.search(retry_failed=True)).retried) == 3


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_retry_takes_nothing_from_the_budget_of_trials(desk: Desk, sampler: str) -> None:
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    desk.sampler = samplers[sampler](seed=1)
    _fails(desk, "worker_lost", width=4)
    failed = trials_of(desk.search(exhaustive=False, n_trials=6)).failed
    assert 0 < len(failed) < 6
    _works(desk)
    by_state = trials_of(desk.search(exhaustive=False, n_trials=6))
    assert (len(by_state.ended), len(by_state.failed)) == (6, 0)
    assert max(Counter(desk.engine.finished).values()) == 1


def test_a_retry_that_is_killed_goes_on(desk: Desk) -> None:
    _fails(desk, "worker_lost")
    desk.search()
    _works(desk)
    desk.kill(6)
    by_state = trials_of(desk.search())
    assert (len(by_state.completed), len(by_state.retried), len(by_state.ended)) == (3, 1, 3)


def test_a_hanging_training_does_not_outlive_the_timeout(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.engine.hangs = lambda task: task.params["width"] == 16
    clock = SimpleNamespace(monotonic=lambda: desk.engine.seconds)
    monkeypatch.setattr("hpsearch.search.search.time", clock)
    study = desk.search(timeout=1000)
    assert desk.states() == {"COMPLETE": 1, "RUNNING": 1, "WAITING": 1}
    assert desk.engine.seconds == 1000 + GRACE_SECONDS
    (note,) = desk.listener.notes
    assert note.startswith("the time is up: 2 trainings that took 60 s more were ended")
    assert not desk.engine.under_way
    assert winner(study, "weak").params["width"] == 4
    desk.engine.hangs = lambda task: False
    desk.search()
    assert desk.states() == {"COMPLETE": 3}


def test_a_trial_that_another_program_completes_blocks_nothing(desk: Desk) -> None:
    """Once before the search, and once a trial that the search has under way."""
    study = desk.create()
    other = study.ask()
    study.tell(other, 0.99)
    before = desk.engine.fails

    def told_by_another(task: Task) -> TaskError | None:
        if (task.params["width"], task.fold) == (16, 1) and "once" not in vars(desk):
            desk.once = True
            again = desk.create()
            (running,) = (
                trial
                for trial in again.get_trials(deepcopy=False)
                if trial.params.get("width") == 16 and trial.state is TrialState.RUNNING
            )
            again.tell(running.number, 0.99)
        return before(task)

    desk.engine.fails = told_by_another
    study = desk.search()
    by_state = trials_of(study)
    assert sorted(trial.params["width"] for trial in by_state.completed) == [4, 16, 64]
    assert len(by_state.foreign) == 2
    assert len({trial.user_attrs["config_digest"] for trial in by_state.completed}) == 3
    assert winner(study, "weak").value == pytest.approx(0.875)
    assert sum("another program ended it" in note for note in desk.listener.notes) == 2
    assert max(Counter(desk.engine.finished).values()) == 1
