"""ROC curves of a trial's folds: what its validation value rests on."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from hpsearch.deciding import fold_scores
from hpsearch.metrics import auroc
from hpsearch.parts import labelled_anomalies
from hpsearch.progress import Progress, silent
from hpsearch.selection.fold_scores import FoldScores
from hpsearch.stored_scores import read_scores
from hpsearch.study_dir import StudyDir


@dataclass(frozen=True, eq=False)
class FoldCurve:
    """One fold's normals against the labelled anomalies that it scores.

    Attributes:
        false_positives, true_positives: rates `(P,)`, ascending from 0 to 1.
        auroc: area under the curve.
        n_normal, n_anomaly: images.
    """

    false_positives: NDArray[np.float64]
    true_positives: NDArray[np.float64]
    auroc: float
    n_normal: int
    n_anomaly: int


def trial_curves(
    folder: StudyDir, trials: Collection[int], *, progress: Progress = silent
) -> dict[int, tuple[FoldCurve, ...]]:
    """A curve a fold of the completed trials of these numbers, from stored scores.

    Raises:
        UserError: a result is gone or damaged, or the fold files are gone.
    """
    stored = read_scores(folder, progress=progress)
    scores = fold_scores(stored, labelled_anomalies(folder.spec(), stored.table))
    return {
        trial.number: tuple(_curve(scores, row, fold) for fold in range(len(scores.normals)))
        for row, trial in enumerate(stored.trials)
        if trial.number in trials
    }


def _curve(scores: FoldScores, row: int, fold: int) -> FoldCurve:
    normals = scores.normals[fold][row]
    anomalies = scores.anomalies[row, fold, scores.counts[fold]]
    labels = np.repeat([0, 1], [len(normals), len(anomalies)])
    false_positives, true_positives, _ = roc_curve(labels, np.concatenate([normals, anomalies]))
    return FoldCurve(
        false_positives,
        true_positives,
        auroc(normals, anomalies),
        len(normals),
        len(anomalies),
    )
