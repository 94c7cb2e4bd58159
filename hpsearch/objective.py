"""What a search maximises: ROC AUC of a fold's normals against the labelled anomalies."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.budget import LabelledAnomalies, labelled_for_fold
from hpsearch.metrics import auroc
from hpsearch.results import FoldResult


@dataclass(frozen=True, eq=False)
class Objective:
    """Validation ROC AUC of one fold (paper, section 3.3), from stored scores.

    Attributes:
        table: the image table.
        labelled: the anomalies that the search may see.
        n_folds: how many folds there are.
    """

    table: pd.DataFrame
    labelled: LabelledAnomalies
    n_folds: int

    def __call__(self, result: FoldResult, fold: int) -> float:
        """The AUC of fold number `fold`."""
        scores = result.scores
        normals = scores["score"][scores["role"] == "normal"]
        positions = labelled_for_fold(self.labelled, fold, self.n_folds)
        return auroc(normals, scores_at(result, self.table, positions))


def scores_at(
    result: FoldResult, table: pd.DataFrame, positions: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Stored scores `(n,)` of the images in rows `positions` of the table."""
    by_id = result.scores.set_index("image_id")["score"]
    return by_id.loc[table["image_id"].iloc[positions]].to_numpy(dtype=np.float64)
