"""Which configuration the labelled anomalies choose, and which others it could have been.

First as statistics on arrays (`tie_set`, `pick`, `leave_one_type_out`), then of a study on disk
(`select`), beside what every criterion would have chosen (`compare_choices`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from hpsearch.config.space import Params, describe
from hpsearch.config.spec import CRITERIA, Criterion, PickRule
from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import Estimate, FloatArray, Interval, estimate, mean_auroc
from hpsearch.evaluation.delong import (
    AurocEstimates,
    FoldScores,
    auroc_interval,
    estimate_aurocs,
)
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.evaluation.threshold import ConformalThreshold, conformal_threshold, on_one_scale
from hpsearch.protocol.folds import Positions
from hpsearch.protocol.labels import (
    EvaluationRoles,
    LabelledAnomalies,
    labelled_for_fold,
    split_labels,
)
from hpsearch.storage.database import completed_trials, winner
from hpsearch.storage.results import FoldResult, scores_at
from hpsearch.storage.trials import facts_of

N_DRAWS = 5000
"""Of the Monte Carlo: a p-value of 0.05 is then off by 0.003."""

SizeOf = Callable[[Params], float | None]
"""How much a configuration's bottleneck lets through; None for one without a bottleneck."""

CostOf = Callable[[Params], float]
"""What scoring an image costs by a configuration, relative to others."""


class TieSet(NamedTuple):
    """Which configurations may be the best.

    Attributes:
        tied: `(C,)`, the set.
        p_values: `(C,)`, of the hypothesis that a configuration is the best, adjusted for all its
            comparisons; 1 for the observed best.
    """

    tied: NDArray[np.bool_]
    p_values: FloatArray


def tie_set(estimates: AurocEstimates, *, level: float = 0.95, seed: int = 0) -> TieSet:
    """The set that holds the true best with probability `level`; never empty.

    Each configuration is tested on its own for being the best: its largest shortfall behind any
    other, in standard errors, against what the largest of that many correlated comparisons reaches
    by chance. The true best fails its own test with probability 1 - level whatever the others are,
    so the set covers it at the level. Testing against the observed best instead, pair by pair,
    covers less: that one is the luckiest of many. Sources: Hsu 1981, Annals of Statistics
    9:1026-1034, and Edwards & Hsu 1983, JASA 78:965-971 (multiple comparisons with the best).

    The joint distribution is Student's t with DeLong's covariance, drawn `N_DRAWS` times, with one
    more anomaly that counts one half (`AurocEstimates.with_a_draw`). A single anomaly ties all.
    """
    drawn = estimates.with_a_draw()
    draws = _draws(drawn, np.random.default_rng(seed))
    variances = np.diag(drawn.covariance)
    p_values = np.ones(len(variances))
    for configuration, value in enumerate(drawn.values):
        spread = variances + variances[configuration] - 2.0 * drawn.covariance[configuration]
        # Rounding leaves a trace of variance between configurations that score alike.
        differs = spread > 1e-12 * variances.max()
        if not differs.any():
            continue
        error = np.sqrt(spread[differs])
        shortfall = ((drawn.values[differs] - value) / error).max()
        by_chance = ((draws[:, differs] - draws[:, [configuration]]) / error).max(axis=1)
        p_values[configuration] = (1 + np.sum(by_chance >= shortfall)) / (1 + len(draws))
    p_values[estimates.values.argmax()] = 1.0
    return TieSet(p_values > 1.0 - level, p_values)


@dataclass(frozen=True, eq=False)
class Pick:
    """The chosen configuration, by its index among the C.

    Attributes:
        chosen: `best`, or the cheapest of the tie set.
        best: of the highest value, the first of several.
        ties: the tie set with a p-value for each configuration.
        values: `(C,)`, cross-validated AUCs.
        interval: 95 % interval, or that of the level, of the chosen one's value.
        sentence: the choice in one plain sentence.
    """

    chosen: int
    best: int
    ties: TieSet
    values: FloatArray
    interval: Interval
    sentence: str


def pick(
    scores: FoldScores,
    names: Sequence[str],
    *,
    sizes: Sequence[float | None],
    costs: Sequence[float] | None = None,
    rule: PickRule = "parsimonious",
    level: float = 0.95,
    seed: int = 0,
) -> Pick:
    """Choose by the rule.

    `parsimonious` takes of the tie set the one that is the cheapest to score, of several the
    smallest bottleneck, then the highest value, then the first; one without a size counts as larger
    than any that has one. `names`, `sizes` and `costs` are of the C configurations; without `costs`
    all cost the same.
    """
    if not len(names) == len(sizes) == len(scores.anomalies):
        raise ValueError(f"{len(names)} names and {len(sizes)} sizes, not {len(scores.anomalies)}")
    estimates = estimate_aurocs(scores)
    ties = tie_set(estimates, level=level, seed=seed)
    best = int(estimates.values.argmax())
    size = np.array([np.inf if given is None else given for given in sizes])
    cost = np.zeros(len(size)) if costs is None else np.array(costs, dtype=np.float64)
    chosen = best
    if rule == "parsimonious":
        order = np.lexsort((-estimates.values, size, cost))
        chosen = int(order[ties.tied[order]][0])
    interval = auroc_interval(estimates, chosen, level=level)
    figures = (
        f"validation AUC {estimates.values[chosen]:.3f}, {100 * level:g} % interval "
        f"{interval.low:.3f} to {interval.high:.3f}"
        + ("" if chosen == best else f"; the best {estimates.values[best]:.3f}")
    )
    superlative = None
    if rule == "parsimonious" and len(set(cost[ties.tied])) > 1:
        superlative = "cheapest to score"
    elif rule == "parsimonious" and size[chosen] < np.inf:
        superlative = "smallest"
    reason = _reason(ties, scores.anomalies.shape[2], superlative)
    sentence = f"{names[chosen]} {reason} ({figures})"
    return Pick(chosen, best, ties, estimates.values, interval, sentence)


class UnseenType(NamedTuple):
    """One type left out.

    Attributes:
        name: of the type.
        n_anomalies: how many labelled anomalies are of it.
        chosen: index of the configuration that the other types choose.
        auroc: cross-validated, of the chosen one on the type left out.
        best: the highest of any configuration on the type left out, which no one could have known.
    """

    name: str
    n_anomalies: int
    chosen: int
    auroc: float
    best: float


def highest(scores: FoldScores) -> int:
    """Index of the configuration of the highest value, the first of several."""
    return int(estimate_aurocs(scores).values.argmax())


def leave_one_type_out(
    scores: FoldScores,
    types: NDArray[np.generic],
    *,
    choose: Callable[[FoldScores], int] = highest,
) -> tuple[UnseenType, ...]:
    """For each of the anomalies' types `(A,)`: choose by the others, score on the one left out.

    They come in the order of their names.

    Raises:
        DataError: there are fewer than two types.
    """
    names = np.unique(types)
    if names.size < 2:
        raise DataError(
            f"anomaly types: leaving one out needs at least two, there is {names.size}; "
            "label another type"
        )
    left_out_types = []
    for name in names:
        left_out = np.asarray(types == name)
        chosen = choose(scores.with_anomalies(~left_out))
        values = estimate_aurocs(scores.with_anomalies(left_out)).values
        left_out_types.append(
            UnseenType(
                str(name), int(left_out.sum()), chosen, float(values[chosen]), float(values.max())
            )
        )
    return tuple(left_out_types)


@dataclass(frozen=True)
class LeftOutType:
    """A labelled type that the others chose for: `auroc` of their choice on it, and the `best`."""

    name: str
    n_anomalies: int
    trial: int
    auroc: float
    best: float


@dataclass(frozen=True)
class HeldOutType:
    """What a detector that is trained on labelled anomalies makes of one of their types.

    Attributes:
        name: of the type.
        n_anomalies: how many labelled anomalies are of it.
        seen: cross-validated AUC on it, by models that were trained on others of the type too.
        unseen: the same by models that were trained on the other types alone.
    """

    name: str
    n_anomalies: int
    seen: float
    unseen: float


@dataclass(frozen=True)
class Selection:
    """What was chosen by the labelled anomalies.

    Attributes:
        trial: number of the chosen trial.
        sentence: the choice explained.
        tied: numbers of the trials that cannot be told from the best, the highest value first.
        left_out_types: each labelled type left out of the choice in turn; empty for a single type.
        held_out_types: each labelled type left out of the training of the best detector that is
            trained on labelled anomalies; empty for a single type, and where there is none such.
    """

    trial: int
    sentence: str
    tied: tuple[int, ...]
    left_out_types: tuple[LeftOutType, ...]
    held_out_types: tuple[HeldOutType, ...] = ()


@dataclass(frozen=True)
class CriterionChoice:
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
    criteria: Sequence[Criterion] = CRITERIA,
    table: pd.DataFrame,
    roles: EvaluationRoles,
    seed: int,
) -> tuple[CriterionChoice, ...]:
    """The choice of each of the criteria, with its test figure and regret.

    No choice is made by these figures: they say, after the fact, what a choice was worth. Nothing
    is trained for them; `folds_of` gives the stored results of a trial's folds.

    Raises:
        StudyError: no trial has been completed.
    """
    images = (table, roles.normals, roles.headline)
    aurocs = [mean_auroc(folds_of(trial), *images) for trial in completed_trials(study)]
    winners = {criterion: winner(study, criterion) for criterion in criteria}
    tests = {
        trial.number: estimate(folds_of(trial), *images, seed=seed)
        for trial in {trial.number: trial for trial in winners.values()}.values()
    }
    return tuple(
        CriterionChoice(
            criterion,
            trial.number,
            facts_of(trial).criteria[criterion],
            test := tests[trial.number],
            regret=max(aurocs) - test.auroc,
        )
        for criterion, trial in winners.items()
    )


def select(
    stored: StoredScores,
    labelled: LabelledAnomalies,
    *,
    size_of: SizeOf,
    cost_of: CostOf,
    rule: PickRule,
    seed: int,
) -> Selection:
    """Choose among the completed trials by the labelled anomalies, see `pick`."""
    scores = fold_scores(stored, labelled)
    names = []
    for trial in stored.trials:
        varied = describe(trial.params, axes) if (axes := varied_axes(trial)) else ""
        names.append(f"trial {trial.number} ({varied})" if varied else f"trial {trial.number}")
    sizes = [size_of(trial.params) for trial in stored.trials]
    costs = [cost_of(trial.params) for trial in stored.trials]

    def picked(of: FoldScores) -> Pick:
        return pick(of, names, sizes=sizes, costs=costs, rule=rule, seed=seed)

    chosen = picked(scores)
    numbers = [trial.number for trial in stored.trials]
    by_value = np.argsort(-chosen.values, kind="stable")
    left_out: tuple[LeftOutType, ...] = ()
    if len(labelled.types) > 1:
        types = stored.table["anomaly_type"].to_numpy(dtype=object)[labelled.positions]
        found = leave_one_type_out(scores, types.astype(str), choose=lambda of: picked(of).chosen)
        left_out = tuple(
            LeftOutType(one.name, one.n_anomalies, numbers[one.chosen], one.auroc, one.best)
            for one in found
        )
    return Selection(
        trial=numbers[chosen.chosen],
        sentence=chosen.sentence,
        tied=tuple(numbers[index] for index in by_value if chosen.ties.tied[index]),
        left_out_types=left_out,
    )


def fold_scores(stored: StoredScores, labelled: LabelledAnomalies) -> FoldScores:
    """The scores that the choice is made from: the labelled anomalies alone, by image and group."""
    columns = _columns(stored, labelled)
    n_folds = len(stored.normals)

    def counted(fold: int) -> Positions:
        if stored.trained_on_labels:
            return split_labels(stored.table, labelled, fold=fold, n_folds=n_folds).scored
        return labelled_for_fold(labelled, fold, n_folds)

    groups = stored.table["group"].to_numpy(dtype=object).astype(str)
    return FoldScores(
        normals=stored.normal_scores,
        anomalies=stored.pool_scores[:, :, columns],
        scored=np.stack([np.isin(labelled.positions, counted(fold)) for fold in range(n_folds)]),
        normal_groups=tuple(groups[positions] for positions in stored.normals),
        anomaly_groups=groups[labelled.positions],
    )


def held_out_scores(
    stored: StoredScores, trial: int, labelled: LabelledAnomalies, final: FoldResult
) -> FloatArray:
    """Scores `(n,)` of all normals by the model of a trial's fold that was not trained on them.

    They are on the scale of the trial's final model (`hpsearch.evaluation.threshold.on_one_scale`).
    Where models are trained on the labelled anomalies, no image tells their scales: scores are then
    taken as they are, which for a classifier's log odds is one scale.
    """
    index = [one.number for one in stored.trials].index(trial)
    if stored.trained_on_labels:
        return np.concatenate([of_fold[index] for of_fold in stored.normal_scores])
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


def varied_axes(trial: FrozenTrial) -> tuple[str, ...]:
    """The axes with more than one choice, in the order of the space."""
    return tuple(
        axis for axis, distribution in trial.distributions.items() if not distribution.single()
    )


def _reason(ties: TieSet, n_anomalies: int, superlative: str | None) -> str:
    n_tied, n = int(ties.tied.sum()), ties.tied.size
    if n == 1:
        return "is the only configuration"
    anomalies = "1 anomaly" if n_anomalies == 1 else f"{n_anomalies} anomalies"
    if n_tied == 1:
        return f"is the only one of {n} configurations that {anomalies} leave as the best"
    if superlative is not None:
        return (
            f"is the {superlative} of {n_tied} configurations that {anomalies} cannot tell from "
            "the best"
        )
    return (
        f"has the highest value, but {anomalies} cannot tell it from {n_tied - 1} "
        f"other{'' if n_tied == 2 else 's'} of {n} configurations"
    )


def _draws(estimates: AurocEstimates, rng: np.random.Generator) -> FloatArray:
    """Chance departures `(N_DRAWS, C)` of all values, Student's t with their covariance."""
    n = len(estimates.values)
    size, axes = np.linalg.eigh(estimates.covariance)
    root = axes * np.sqrt(np.maximum(size, 0.0))
    freedom = estimates.degrees_of_freedom(np.eye(n) - 1.0 / n)
    scale = np.sqrt(rng.chisquare(freedom, size=(N_DRAWS, 1)) / freedom)
    departures: FloatArray = rng.normal(size=(N_DRAWS, n)) @ root.T / scale
    return departures


def _columns(stored: StoredScores, labelled: LabelledAnomalies) -> list[int]:
    """Where the labelled anomalies are in the pool."""
    column = {position: index for index, position in enumerate(stored.pool)}
    return [column[position] for position in labelled.positions]
