"""The pick: one configuration, why it was taken, and which others it cannot be told apart from.

Leave one type out: how a choice by some types of anomaly serves a type that it never saw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import Interval
from hpsearch.evaluation.delong import estimate_aurocs
from hpsearch.evaluation.fold_scores import FloatArray, FoldScores
from hpsearch.evaluation.intervals import auroc_interval
from hpsearch.evaluation.tie_set import TieSet, tie_set

PickRule = Literal["best", "parsimonious"]


@dataclass(frozen=True, eq=False)
class Pick:
    """The chosen configuration, by its index among the C.

    Attributes:
        chosen: `best`, or the smallest of the tie set.
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
    rule: PickRule = "parsimonious",
    level: float = 0.95,
    seed: int = 0,
) -> Pick:
    """Choose by the rule.

    `parsimonious` takes the smallest bottleneck of the tie set, of several the one of the highest
    value, then the first; one without a size counts as larger than any that has one. `names` and
    `sizes` are of the C configurations.
    """
    if not len(names) == len(sizes) == len(scores.anomalies):
        raise ValueError(f"{len(names)} names and {len(sizes)} sizes, not {len(scores.anomalies)}")
    estimates = estimate_aurocs(scores)
    ties = tie_set(estimates, level=level, seed=seed)
    best = int(estimates.values.argmax())
    size = np.array([np.inf if given is None else given for given in sizes])
    chosen = best
    if rule == "parsimonious":
        order = np.lexsort((-estimates.values, size))
        chosen = int(order[ties.tied[order]][0])
    interval = auroc_interval(estimates, chosen, level=level)
    figures = (
        f"validation AUC {estimates.values[chosen]:.3f}, {100 * level:g} % interval "
        f"{interval.low:.3f} to {interval.high:.3f}"
        + ("" if chosen == best else f"; the best {estimates.values[best]:.3f}")
    )
    reason = _reason(
        ties, scores.anomalies.shape[2], smallest=bool(size[chosen] < np.inf), rule=rule
    )
    sentence = f"{names[chosen]} {reason} ({figures})"
    return Pick(chosen, best, ties, estimates.values, interval, sentence)


def _reason(ties: TieSet, n_anomalies: int, *, smallest: bool, rule: PickRule) -> str:
    n_tied, n = int(ties.tied.sum()), ties.tied.size
    if n == 1:
        return "is the only configuration"
    anomalies = "1 anomaly" if n_anomalies == 1 else f"{n_anomalies} anomalies"
    if n_tied == 1:
        return f"is the only one of {n} configurations that {anomalies} leave as the best"
    if rule == "parsimonious" and smallest:
        return (
            f"is the smallest of {n_tied} configurations that {anomalies} cannot tell from the best"
        )
    return (
        f"has the highest value, but {anomalies} cannot tell it from {n_tied - 1} "
        f"other{'' if n_tied == 2 else 's'} of {n} configurations"
    )


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


class UnseenTypes(NamedTuple):
    """All types in the order of their names, and the mean AUC over types."""

    types: tuple[UnseenType, ...]
    mean: float


def highest(scores: FoldScores) -> int:
    """Index of the configuration of the highest value, the first of several."""
    return int(estimate_aurocs(scores).values.argmax())


def leave_one_type_out(
    scores: FoldScores,
    types: NDArray[np.generic],
    *,
    choose: Callable[[FoldScores], int] = highest,
) -> UnseenTypes:
    """For each of the anomalies' types `(A,)`: choose by the others, score on the one left out.

    Raises:
        DataError: there are fewer than two types.
    """
    names = np.unique(types)
    if names.size < 2:
        raise DataError(
            f"anomaly types: leaving one out needs at least two, there is {names.size}; "
            "label another type"
        )
    found = []
    for name in names:
        left_out = np.asarray(types == name)
        chosen = choose(scores.with_anomalies(~left_out))
        values = estimate_aurocs(scores.with_anomalies(left_out)).values
        found.append(
            UnseenType(
                str(name), int(left_out.sum()), chosen, float(values[chosen]), float(values.max())
            )
        )
    return UnseenTypes(tuple(found), fmean(one.auroc for one in found))
