"""Which configuration each draw of labelled anomalies chooses, for all draws at once."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hpsearch.budget import AnomalyUse
from hpsearch.selection.placements import placements
from hpsearch.stored_scores import FloatArray, StoredScores

_DECIMALS = 12  # below them equal values may differ by the order in which they were summed


def pool_placements(scores: StoredScores) -> FloatArray:
    """Placements `(C, F, A)` of the pool's anomalies among the normals of each fold."""
    placed = np.empty_like(scores.pool_scores)
    for fold, normals in enumerate(scores.normal_scores):
        for number, own in enumerate(normals):
            placed[number, fold] = placements(scores.pool_scores[number, fold], own)
    return placed


def cross_validated(
    placed: FloatArray, selected: NDArray[np.int64], anomalies: AnomalyUse
) -> FloatArray:
    """Mean AUC over folds `(C, R)` with only the selected anomalies.

    Args:
        placed: placements `(C, F, A)`.
        selected: `(R, s)` places in the pool, as `Draws` has them.
        anomalies: whether every fold scores all of them or each its own part, as
            `hpsearch.budget.labelled_for_fold` parts them.
    """
    n_folds = placed.shape[1]
    values = np.zeros((len(placed), len(selected)))
    for fold in range(n_folds):
        part = selected if anomalies == "shared" else selected[:, fold::n_folds]
        values += _subset_means(placed[:, fold], part)
    means: FloatArray = np.round(values / n_folds, _DECIMALS)
    return means


def choose(values: FloatArray) -> NDArray[np.int64]:
    """The configuration `(R,)` of the highest value `(C, R)`, the earliest of several."""
    chosen: NDArray[np.int64] = np.argmax(values, axis=0)
    return chosen


def _subset_means(values: FloatArray, subsets: NDArray[np.int64]) -> FloatArray:
    """Means `(C, R)` of the values `(C, A)` over each of the subsets `(R, s)`."""
    n_subsets, size = subsets.shape
    starts = np.arange(n_subsets + 1) * size
    members = sparse.csr_array(
        (np.ones(subsets.size), subsets.ravel(), starts), shape=(n_subsets, values.shape[1])
    )
    means: FloatArray = (members @ values.T).T / size
    return means
