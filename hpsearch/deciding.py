"""The choice of a finished search from stored scores; `hpsearch.selection` has the statistics."""

from collections.abc import Callable

import numpy as np
from optuna.trial import FrozenTrial

from hpsearch.budget import LabelledAnomalies, labelled_for_fold
from hpsearch.results import FoldResult, scores_at
from hpsearch.selection.conformal import ConformalThreshold, conformal_threshold
from hpsearch.selection.fold_scores import FoldScores
from hpsearch.selection.one_scale import on_one_scale
from hpsearch.selection.pick import Pick, PickRule, pick
from hpsearch.selection.unseen_types import leave_one_type_out
from hpsearch.space import Params, describe
from hpsearch.stored_scores import FloatArray, StoredScores
from hpsearch.verdict import LeftOutType, Verdict

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
    """Choose among the completed trials by the labelled anomalies (`hpsearch.selection.pick`)."""
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

    They are on the scale of the trial's final model (`hpsearch.selection.one_scale`).
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
