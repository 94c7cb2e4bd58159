"""Test AUC of every configuration, on what a draw of labelled anomalies leaves to test on."""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.errors import DataError
from hpsearch.label_budget.draws import Draws
from hpsearch.selection.placements import placements
from hpsearch.stored_scores import FloatArray, StoredScores

Models = Literal["final", "folds"]
"""Whose test figure: of models trained on all normals, or the mean over those of the folds."""


class HeldOut:
    """Test AUCs of all configurations.

    Args:
        scores: stored scores with at least one normal and one anomaly among the test images.
        models: whose figure.

    Attributes:
        borrowed: labelled anomalies come from the test images, and a draw then leaves out what
            `hpsearch.budget.test_roles` leaves out.

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
