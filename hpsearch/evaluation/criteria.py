"""By what a configuration is chosen: figures of the same trained folds, each higher = better.

`weak` is the paper's (section 3.3): ROC AUC of a fold's normals against the labelled anomalies.
`unsupervised` needs no anomaly: minus the mean score of a fold's normals, which for an autoencoder
is the reconstruction loss of its rows (1) and (2) in Table 4 (section 4.6). It compares only
configurations whose scores are on one scale. `synthetic` needs none either: ROC AUC of a fold's
normals against their synthetic counterparts (arXiv 2310.10461; see `cutpaste`)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import pandas as pd

from hpsearch.config.spec import CRITERIA, Values
from hpsearch.evaluation.auroc import auroc
from hpsearch.protocol.labels import LabelledAnomalies, labelled_for_fold
from hpsearch.storage.results import FoldResult, scores_at

"""A value by each criterion."""


@dataclass(frozen=True, eq=False)
class Criteria:
    """The values of one fold, from stored scores.

    Attributes:
        table: the image table.
        labelled: the anomalies that the search may see.
        n_folds: how many folds there are.
    """

    table: pd.DataFrame
    labelled: LabelledAnomalies
    n_folds: int

    @cached_property
    def digest(self) -> str:
        """Names the labelled anomalies of the folds by their positions, 16 hex digits."""
        of_folds = [
            labelled_for_fold(self.labelled, fold, self.n_folds).tolist()
            for fold in range(self.n_folds)
        ]
        return hashlib.sha256(str(of_folds).encode()).hexdigest()[:16]

    def __call__(self, result: FoldResult, fold: int) -> Values:
        """The values of fold number `fold`, to the bit the same from memory and from disk."""
        normals = result.of_role("normal")
        positions = labelled_for_fold(self.labelled, fold, self.n_folds)
        return {
            "weak": auroc(normals, scores_at(result, self.table, positions)),
            "unsupervised": -fmean(normals),
            "synthetic": auroc(normals, result.of_role("synthetic")),
        }


def mean_values(folds: Mapping[int, Values]) -> Values:
    """The means over folds, to the bit the same in whatever order the folds came."""
    return {name: fmean(values[name] for values in folds.values()) for name in CRITERIA}
