"""Which configuration each criterion chooses, and what that costs on the test set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from hpsearch.criteria import CRITERIA
from hpsearch.errors import NothingCompletedError, StudyError
from hpsearch.estimate import Estimate, estimate, mean_auroc
from hpsearch.failures import failures_sentence
from hpsearch.results import FoldResult
from hpsearch.spec import Criterion
from hpsearch.trials import trials_of

if TYPE_CHECKING:
    from hpsearch.budget import TestRoles


@dataclass(frozen=True)
class Choice:
    """What one criterion would have chosen; the figures are of the models of the folds.

    Attributes:
        criterion: by which it is the best.
        trial: number of the chosen trial.
        value: its mean over folds by that criterion, higher = better.
        test: its test ROC AUC, the mean over the folds' models.
        regret: how far `test` is below that of the trial whose `test` is the highest.
    """

    criterion: Criterion
    trial: int
    value: float
    test: Estimate
    regret: float


def completed_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that one may choose from: none that another program ended.

    Raises:
        NothingCompletedError: there are none.
    """
    by_state = trials_of(study)
    if by_state.completed:
        return list(by_state.completed)
    name = f"study {study.study_name}: no trial was completed"
    if not by_state.failed:
        raise NothingCompletedError(f"{name}; give it more time")
    why = failures_sentence(by_state.failed, tried=len(by_state.ended))
    raise NothingCompletedError(
        f"{name}: {why}; mend what failed and run the same command with --retry-failed"
    )


def winner(study: optuna.Study, criterion: Criterion) -> FrozenTrial:
    """The completed trial of the highest value by a criterion, the earliest of several.

    Raises:
        StudyError: no trial has been completed, or an earlier version of hpsearch did it.
    """
    complete = completed_trials(study)
    if any(criterion not in trial.user_attrs for trial in complete):
        raise StudyError(
            f"study {study.study_name}: an earlier version of hpsearch began it; give another "
            "--study-name"
        )
    return max(complete, key=lambda trial: (trial.user_attrs[criterion], -trial.number))


def compare_choices(
    study: optuna.Study,
    folds_of: Callable[[FrozenTrial], Sequence[FoldResult]],
    *,
    table: pd.DataFrame,
    roles: "TestRoles",
    seed: int,
) -> tuple[Choice, ...]:
    """The choice of every criterion, with its test figure and regret.

    No choice is made by these figures: they say, after the fact, what a choice was worth. Nothing
    is trained for them; `folds_of` gives the stored results of a trial's folds.

    Raises:
        StudyError: no trial has been completed.
    """
    images = (table, roles.normals, roles.headline)
    aurocs = [mean_auroc(folds_of(trial), *images) for trial in completed_trials(study)]
    winners = {criterion: winner(study, criterion) for criterion in CRITERIA}
    tests = {
        trial.number: estimate(folds_of(trial), *images, seed=seed)
        for trial in {trial.number: trial for trial in winners.values()}.values()
    }
    return tuple(
        Choice(
            criterion,
            trial.number,
            trial.user_attrs[criterion],
            test := tests[trial.number],
            regret=max(aurocs) - test.auroc,
        )
        for criterion, trial in winners.items()
    )
