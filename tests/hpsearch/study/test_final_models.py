from typing import Any

import optuna
import pytest

from hpsearch.study.finish import estimated_seconds


def _trial(seconds: float) -> optuna.trial.FrozenTrial:
    """Of three folds that took so long in all."""
    facts: dict[str, Any] = {"seconds": seconds, "tasks": ["a", "b", "c"]}
    return optuna.trial.create_trial(value=0.5, user_attrs=facts)


@pytest.mark.parametrize(
    ("seconds", "workers", "expected"),
    [([30, 60, 30], 1, 40), ([30, 60, 30], 2, 20), ([30, 300], 2, 100), ([], 2, 0)],
)
def test_a_final_training_takes_about_as_long_as_a_fold(
    seconds: list[float], workers: int, expected: float
) -> None:
    trials = [_trial(each) for each in seconds]
    assert estimated_seconds(trials, workers) == pytest.approx(expected)
