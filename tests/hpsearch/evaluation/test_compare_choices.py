from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

from hpsearch.config.spec import CRITERIA
from hpsearch.errors import NothingCompletedError, StudyError
from hpsearch.evaluation.selection import compare_choices
from hpsearch.protocol.labels import EvaluationRoles
from hpsearch.storage.database import completed_trials, winner
from hpsearch.storage.results import FoldResult

TABLE = pd.DataFrame({"image_id": [str(n) for n in range(7)], "group": [str(n) for n in range(7)]})
ROLES = EvaluationRoles(
    normals=np.arange(4), seen=np.array([4]), unseen=np.array([5]), headline=np.array([4, 5])
)


def _study(*ends: tuple[float, float, float] | None) -> optuna.Study:
    """A study whose trials ended with these values by each criterion; None failed."""
    study = optuna.create_study(direction="maximize")
    for values in ends:
        trial = study.ask()
        trial.set_user_attr("tasks", [])
        if values is None:
            trial.set_user_attr("failure", "error")
            trial.set_user_attr("failure_message", "ValueError: no\x1b[31m")
            study.tell(trial, state=TrialState.FAIL)
            continue
        for criterion, value in zip(CRITERIA, values, strict=True):
            trial.set_user_attr(criterion, value)
        study.tell(trial, values[0])
    return study


def _weak(*ends: float | None) -> optuna.Study:
    return _study(*(None if value is None else (value, -value, 0.5) for value in ends))


@pytest.mark.parametrize(
    ("ends", "best"),
    [((0.5, 0.9, 0.9), 1), ((0.9, 0.9, 0.1), 0), ((None, 0.2, 0.3), 2), ((0.0, None), 0)],
)
def test_the_winner_is_the_earliest_of_the_best(ends: tuple[float, ...], best: int) -> None:
    assert winner(_weak(*ends), "weak").number == best


def test_each_criterion_has_its_winner() -> None:
    study = _study((0.9, -2.0, 0.5), (0.5, -0.1, 0.5), None, (0.6, -1.0, 0.8))
    found = {criterion: winner(study, criterion).number for criterion in CRITERIA}
    assert found == {"weak": 0, "unsupervised": 1, "synthetic": 3}


def test_running_and_pruned_trials_do_not_win() -> None:
    study = _weak(0.4)
    study.ask()
    pruned = study.ask()
    pruned.set_user_attr("weak", 0.99)
    pruned.report(0.99, step=1)
    study.tell(pruned, state=TrialState.PRUNED)
    assert winner(study, "weak").number == 0


@pytest.mark.parametrize(
    ("n_failed", "says"),
    [
        (0, r"no trial was completed; give it more time$"),
        (2, r"2 of 2 configurations failed: trial 0 error: ValueError: no\\x1b\[31m; trial 1 "),
        (5, r"5 of 5 configurations failed: .*; and 2 more; mend what failed .* --retry-failed$"),
    ],
)
def test_no_completed_trial_says_how_many_failed_and_why(n_failed: int, says: str) -> None:
    with pytest.raises(NothingCompletedError, match=rf"^study [^\n]*{says}"):
        winner(_weak(*[None] * n_failed), "synthetic")


def test_a_trial_that_another_program_completed_is_not_chosen_from() -> None:
    study = _weak(0.4, 0.3)
    study.tell(study.ask(), 0.99)
    assert [trial.number for trial in completed_trials(study)] == [0, 1]
    assert winner(study, "weak").number == 0


def test_a_trial_of_an_earlier_version_is_one_line() -> None:
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.set_user_attr("tasks", [])
    study.tell(trial, 0.5)
    with pytest.raises(StudyError, match=r"an earlier version .*--study-name$"):
        winner(study, "weak")


def _fold(*scores: float) -> FoldResult:
    """Of four test normals, an anomaly of a seen and one of an unseen type, and one left out."""
    nothing = pd.DataFrame()
    frame = pd.DataFrame({"image_id": TABLE["image_id"], "role": "test", "score": scores})
    return FoldResult("a", frame, 1, None, nothing, 1.0, 1.0, "cpu")


# AUC of normals 0 1 2 3 against anomalies a, b: the share of the eight pairs that are in order.
FOLDS = {
    0: [_fold(0, 1, 2, 3, 9, 9, -9), _fold(0, 1, 2, 3, 9, 1.5, -9)],  # 8/8 and 6/8
    1: [_fold(0, 1, 2, 3, 0.5, 0.5, 9), _fold(0, 1, 2, 3, 9, 9, 9)],  # 2/8 and 8/8
    2: [_fold(0, 1, 2, 3, 9, 9, -9), _fold(0, 1, 2, 3, 9, 9, -9)],  # 8/8 and 8/8
}


def _compare(*ends: tuple[float, float, float]) -> dict[str, Any]:
    def folds_of(trial: FrozenTrial) -> list[FoldResult]:
        return FOLDS[trial.number]

    found = compare_choices(_study(*ends), folds_of, table=TABLE, roles=ROLES, seed=0)
    return {choice.criterion: choice for choice in found}


def test_a_choice_costs_what_it_is_below_the_best_on_the_test_set() -> None:
    found = _compare((0.9, -2.0, 0.3), (0.5, -0.1, 0.4), (0.6, -1.0, 0.8))
    assert tuple(found) == CRITERIA
    assert {name: choice.trial for name, choice in found.items()} == {
        "weak": 0,
        "unsupervised": 1,
        "synthetic": 2,
    }
    assert [choice.value for choice in found.values()] == [0.9, -0.1, 0.8]
    assert [choice.test.auroc for choice in found.values()] == [0.875, 0.625, 1.0]
    assert [choice.regret for choice in found.values()] == [0.125, 0.375, 0.0]
    intervals = {name: choice.test.interval for name, choice in found.items()}
    assert intervals.pop("synthetic") is None, "an AUC of 1 shows no spread"
    assert all(low <= found[name].test.auroc <= high for name, (low, high) in intervals.items())
    assert (found["weak"].test.n_normal, found["weak"].test.n_anomaly) == (4, 2)


def test_regret_counts_configurations_that_nobody_chose() -> None:
    found = _compare((0.9, -0.1, 0.9), (0.5, -0.2, 0.4), (0.6, -1.0, 0.8))
    assert {choice.trial for choice in found.values()} == {0}
    assert {choice.regret for choice in found.values()} == {0.125}
    assert len({choice.test for choice in found.values()}) == 1
