"""Leave one type out: how a choice by some types of anomaly serves a type that it never saw."""

from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpsearch.errors import DataError
from hpsearch.selection.delong import estimate_aurocs
from hpsearch.selection.fold_scores import FoldScores


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
