"""Test AUC of every configuration, on what a draw of labelled anomalies leaves to test on.

Which configuration each draw of labelled anomalies chooses, for all draws at once.
"""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from hpsearch.errors import DataError
from hpsearch.evaluation.delong import placements
from hpsearch.evaluation.label_budget.cells import Draws
from hpsearch.evaluation.stored_scores import FloatArray, StoredScores
from hpsearch.protocol.labels import AnomalyUse

Models = Literal["final", "folds"]
"""Whose test figure: of models trained on all normals, or the mean over those of the folds."""


class HeldOut:
    """Test AUCs of all configurations.

    Args:
        scores: stored scores with at least one normal and one anomaly among the test images.
        models: whose figure.

    Attributes:
        borrowed: labelled anomalies come from the test images, and a draw then leaves out what
            `hpsearch.protocol.labels.evaluation_roles` leaves out.

    Raises:
        DataError: the test images lack a class.
    """

    def __init__(self, scores: StoredScores, models: Models) -> None:
        labels = scores.table["label"].to_numpy()[scores.test]
        if not {0, 1} <= set(labels):
            raise DataError("test images: a test AUC needs normal and anomalous ones; add some")
        self.anomalies = scores.test[labels == 1]
        self._placed = _test_placements(scores, labels, models)
        self.borrowed = bool(np.isin(scores.pool, scores.test).any())
        self._groups = pd.factorize(scores.table["group"].iloc[self.anomalies])[0]

    def overall(self) -> FloatArray:
        """AUC `(C,)` over all test anomalies, NaN where there is no model."""
        means: FloatArray = self._placed.mean(axis=1)
        return means

    def aurocs(self, draws: Draws, type_of: NDArray[np.int64]) -> FloatArray | None:
        """AUC `(C, R)` on what each draw leaves, NaN where there is no model.

        Args:
            draws: of anomalies of the pool.
            type_of: `(A,)` number of the type of each anomaly of the pool.

        Returns:
            None where a draw leaves no anomaly to test on.
        """
        if not self.borrowed:
            return np.repeat(self.overall()[:, None], len(draws.selected), axis=1)
        left = self._left(draws, type_of)
        counts = left.sum(axis=1)
        return self._placed @ left.T / counts if counts.all() else None

    def _left(self, draws: Draws, type_of: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which test anomalies `(R, A)`, here the pool, a draw may be tested on."""
        rows = np.arange(len(draws.selected))[:, None]
        touched = np.zeros((len(rows), self._groups.max() + 1), dtype=bool)
        touched[rows, self._groups[draws.selected]] = True
        seen_type = np.zeros((len(rows), type_of.max() + 1), dtype=bool)
        seen_type[rows, draws.types] = True
        free = ~touched[:, self._groups]
        unseen = free & ~seen_type[:, type_of]
        headline: NDArray[np.bool_] = np.where(unseen.any(axis=1, keepdims=True), unseen, free)
        return headline


def _test_placements(scores: StoredScores, labels: NDArray[np.int64], models: Models) -> FloatArray:
    """Placements `(C, A)` of the test anomalies among the test normals; NaN without a model."""

    def placed(of_test: FloatArray) -> FloatArray:
        return placements(of_test[labels == 1], of_test[labels == 0])

    if models == "folds":
        each = [[placed(fold) for fold in folds] for folds in scores.fold_test_scores]
        means: FloatArray = np.mean(each, axis=1)
        return means
    nothing = np.full(int((labels == 1).sum()), np.nan)
    rows = zip(scores.final_test_scores, scores.has_final, strict=True)
    return np.stack([placed(row) if has else nothing for row, has in rows])


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
            `hpsearch.protocol.labels.labelled_for_fold` parts them.
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
