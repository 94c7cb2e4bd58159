"""The best of the detectors that are trained on labelled anomalies (heads), by what they saw.

A head's validation AUC is honest for anomalies like the labelled ones: each is scored by a model
that saw neither it nor its group. It says nothing of other types, so that it compares heads with
each other and never with detectors that saw no label.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from hpsearch.config.space import Params, configuration
from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.delong import estimate_aurocs
from hpsearch.evaluation.selection import HeldOutType, fold_scores
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.protocol.labels import LabelledAnomalies
from hpsearch.storage.results import FoldResult, scores_at

_CARRY_OVER = ("both", "residual")


def best_head(heads: StoredScores, labelled: LabelledAnomalies) -> int:
    """Number of the head of the highest validation AUC, the first of several.

    Those that see residuals are preferred whatever the AUC: on types and backgrounds that no label
    showed they hold where the others fall.
    """
    values = estimate_aurocs(fold_scores(heads, labelled)).values
    residual = np.array([sees_residuals(trial.params) for trial in heads.trials])
    allowed = residual if residual.any() else ~residual
    best = int(np.where(allowed, values, -np.inf).argmax())
    return heads.trials[best].number


def sees_residuals(params: Params) -> bool:
    """Whether a configuration of a head sees how far an image is from the normals it is like."""
    _, own = configuration(params, "")
    return own.get("inputs") in _CARRY_OVER


def types_in_words(types: Sequence[HeldOutType]) -> tuple[str, ...]:
    """What is known of a head on types that it is not trained on, a line each."""
    if not types:
        return (
            "a detector is trained on one labelled type, so that nothing measured how it finds "
            "other types: label a second type",
        )
    return tuple(
        f"trained without {one.name}: AUC {one.unseen:.3f} on it; trained on it too {one.seen:.3f}"
        for one in types
    )


def held_out_types(
    heads: StoredScores,
    trial: int,
    labelled: LabelledAnomalies,
    without: Mapping[str, Sequence[FoldResult]],
) -> tuple[HeldOutType, ...]:
    """A head's figures on each labelled type, where it was trained on it and where it was not.

    Args:
        heads: the stored scores of heads.
        trial: number of the head.
        labelled: all labelled anomalies.
        without: by type, the trainings of the folds that were not fitted on it.
    """
    row = [one.number for one in heads.trials].index(trial)
    scores = fold_scores(heads, labelled)
    types = heads.table["anomaly_type"].to_numpy(dtype=object)[labelled.positions]
    found = []
    for name, folds in without.items():
        of_type = np.asarray(types == name)
        seen = estimate_aurocs(scores.with_anomalies(of_type)).values[row]
        positions = labelled.positions[of_type]
        unseen = fmean(
            auroc(fold.of_role("normal"), scores_at(fold, heads.table, positions)) for fold in folds
        )
        found.append(HeldOutType(name, int(of_type.sum()), float(seen), unseen))
    return tuple(found)
