"""Which anomalies labels may be drawn from: those whose group no model was trained on."""

from dataclasses import replace

import numpy as np

from hpsearch.errors import DataError
from hpsearch.parts import labelled_anomalies
from hpsearch.spec import StudySpec
from hpsearch.splits import final_split
from hpsearch.stored_scores import StoredScores


def independent_pool(scores: StoredScores, spec: StudySpec) -> StoredScores:
    """`scores` without the anomalies that share a group with normals that a fold trained on.

    The folds of a study leave the groups of its own labelled anomalies out of their training, and
    only those; nothing is left out of a study that was told to split groups.

    Raises:
        DataError: no anomaly is left.
    """
    if spec.search.split_groups:
        return scores
    groups = scores.table["group"]
    trained = set(groups.iloc[final_split(scores.table)])
    if spec.labels.anomalies == "shared":  # else a fold leaves out those of its own part alone
        trained -= set(groups.iloc[labelled_anomalies(spec, scores.table).positions])
    kept = np.flatnonzero(~groups.iloc[scores.pool].isin(trained).to_numpy())
    if not kept.size:
        raise DataError(
            f"labelled anomalies: all {scores.pool.size} share a group with normals that the "
            "models were trained on; label anomalies of other groups"
        )
    return replace(scores, pool=scores.pool[kept], pool_scores=scores.pool_scores[:, :, kept])
