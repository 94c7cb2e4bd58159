"""The choice of a finished search from stored scores; `hpsearch.evaluation` has the statistics.

Which configuration each criterion chooses, and what that costs on the test set.

What the labelled anomalies decided, and which other configurations it could have been.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from hpsearch.config.spec import CRITERIA, Criterion
from hpsearch.evaluation.threshold import Estimate, estimate, mean_auroc
from hpsearch.storage.results import FoldResult
from hpsearch.storage.trials import facts_of

if TYPE_CHECKING:
    from hpsearch.protocol.labels import TestRoles
import numpy as np

from hpsearch.config.space import Params, describe
from hpsearch.evaluation.conformal import ConformalThreshold, conformal_threshold
from hpsearch.evaluation.fold_scores import FoldScores
from hpsearch.evaluation.pick import Pick, PickRule, leave_one_type_out, pick
from hpsearch.evaluation.stored_scores import FloatArray, StoredScores
from hpsearch.evaluation.threshold import on_one_scale
from hpsearch.protocol.labels import LabelledAnomalies, labelled_for_fold
from hpsearch.storage.database import completed_trials, winner
from hpsearch.storage.results import scores_at


@dataclass(frozen=True)
class LeftOutType:
    """A labelled type that the others chose for: `auroc` of their choice on it, and the `best`."""

    name: str
    n_anomalies: int
    trial: int
    auroc: float
    best: float


@dataclass(frozen=True)
class Verdict:
    """What was chosen by the labelled anomalies.

    Attributes:
        trial: number of the chosen trial.
        sentence: the choice explained.
        tied: numbers of the trials that cannot be told from the best, the highest value first.
        left_out_types: each labelled type left out of the choice in turn; empty for a single type.
    """

    trial: int
    sentence: str
    tied: tuple[int, ...]
    left_out_types: tuple[LeftOutType, ...]


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
            facts_of(trial).criteria[criterion],
            test := tests[trial.number],
            regret=max(aurocs) - test.auroc,
        )
        for criterion, trial in winners.items()
    )


SizeOf = Callable[[Params], float | None]
"""How much a configuration's bottleneck lets through; None for one without a bottleneck."""


def decide(
    stored: StoredScores,
    labelled: LabelledAnomalies,
    *,
    size_of: SizeOf,
    rule: PickRule,
    seed: int,
) -> Verdict:
    """Choose among the completed trials by the labelled anomalies (`hpsearch.evaluation.pick`)."""
    scores = fold_scores(stored, labelled)
    names = [_name(trial) for trial in stored.trials]
    sizes = [size_of(trial.params) for trial in stored.trials]

    def picked(of: FoldScores) -> Pick:
        return pick(of, names, sizes=sizes, rule=rule, seed=seed)

    chosen = picked(scores)
    numbers = [trial.number for trial in stored.trials]
    by_value = np.argsort(-chosen.values, kind="stable")
    left_out: tuple[LeftOutType, ...] = ()
    if len(labelled.types) > 1:
        types = stored.table["anomaly_type"].to_numpy(dtype=object)[labelled.positions]
        found = leave_one_type_out(scores, types.astype(str), choose=lambda of: picked(of).chosen)
        left_out = tuple(
            LeftOutType(one.name, one.n_anomalies, numbers[one.chosen], one.auroc, one.best)
            for one in found.types
        )
    return Verdict(
        trial=numbers[chosen.chosen],
        sentence=chosen.sentence,
        tied=tuple(numbers[index] for index in by_value if chosen.ties.tied[index]),
        left_out_types=left_out,
    )


def fold_scores(stored: StoredScores, labelled: LabelledAnomalies) -> FoldScores:
    """The scores that the choice is made from: the labelled anomalies alone, by image and group."""
    columns = _columns(stored, labelled)
    n_folds = len(stored.normals)
    groups = stored.table["group"].to_numpy(dtype=object).astype(str)
    return FoldScores(
        normals=stored.normal_scores,
        anomalies=stored.pool_scores[:, :, columns],
        scored=np.stack(
            [
                np.isin(labelled.positions, labelled_for_fold(labelled, fold, n_folds))
                for fold in range(n_folds)
            ]
        ),
        normal_groups=tuple(groups[positions] for positions in stored.normals),
        anomaly_groups=groups[labelled.positions],
    )


def held_out_scores(
    stored: StoredScores, trial: int, labelled: LabelledAnomalies, final: FoldResult
) -> FloatArray:
    """Scores `(n,)` of all normals by the model of a trial's fold that was not trained on them.

    They are on the scale of the trial's final model (`hpsearch.evaluation.threshold`).
    """
    index = [found.number for found in stored.trials].index(trial)
    columns = _columns(stored, labelled)
    return on_one_scale(
        [of_fold[index] for of_fold in stored.normal_scores],
        [of_fold[columns] for of_fold in stored.pool_scores[index]],
        scores_at(final, stored.table, labelled.positions),
    )


def threshold_of(calibration: FloatArray, *, rate: float) -> ConformalThreshold | None:
    """The threshold for a false-positive rate, None where there are too few normals for it."""
    if (len(calibration) + 1) * rate < 1:
        return None
    return conformal_threshold(calibration, rate=rate)


def _columns(stored: StoredScores, labelled: LabelledAnomalies) -> list[int]:
    """Where the labelled anomalies are in the pool."""
    column = {position: index for index, position in enumerate(stored.pool)}
    return [column[position] for position in labelled.positions]


def _name(trial: FrozenTrial) -> str:
    varied = describe(trial.params, axes) if (axes := varied_axes(trial)) else ""
    return f"trial {trial.number} ({varied})" if varied else f"trial {trial.number}"


def varied_axes(trial: FrozenTrial) -> tuple[str, ...]:
    """The axes with more than one choice, in the order of the space."""
    return tuple(
        axis for axis, distribution in trial.distributions.items() if not distribution.single()
    )
