from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.errors import DataError
from hpsearch.evaluation.label_budget.cells import independent_pool
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.protocol.labels import LabelBudget, draw_labelled


def spec(**sections: Any) -> StudySpec:
    labels = {"n_anomaly_types": 1, "n_examples": 4}
    return build_spec({"study_name": "pool", "labels": labels}, sections)


def mixed(scores: StoredScores, positions: np.ndarray) -> StoredScores:
    """The same with these anomalies in the group of the first normal."""
    table = scores.table.copy()
    table.loc[positions, "group"] = table["group"].iloc[0]
    return replace(scores, table=table)


def test_anomalies_beside_normals_that_were_trained_on_are_not_drawn(
    made: Callable[..., StoredScores],
) -> None:
    scores = made()
    assert independent_pool(scores, spec()).pool.tolist() == scores.pool.tolist()
    own = draw_labelled(scores.table, LabelBudget(1, 4), seed=0).positions
    other = np.setdiff1d(scores.pool, own)[:3]
    found = independent_pool(mixed(scores, other), spec())
    assert found.pool.tolist() == np.setdiff1d(scores.pool, other).tolist()
    kept = np.isin(scores.pool, found.pool)
    assert found.pool_scores.tolist() == scores.pool_scores[:, :, kept].tolist()


def test_those_that_the_study_was_labelled_with_may_be_drawn_where_all_folds_left_them_out(
    made: Callable[..., StoredScores],
) -> None:
    scores = made()
    own = draw_labelled(scores.table, LabelBudget(1, 4), seed=0).positions
    beside = mixed(scores, own[:2])
    assert independent_pool(beside, spec()).pool.tolist() == scores.pool.tolist()
    parted = independent_pool(beside, spec(labels={"anomalies": "partition"}))
    assert parted.pool.tolist() == np.setdiff1d(scores.pool, own[:2]).tolist()
    with pytest.raises(DataError, match="all 19 share a group") as caught:
        every = spec(labels={"anomalies": "partition"})
        independent_pool(mixed(scores, scores.pool), every)
    assert "\n" not in str(caught.value)
    split = spec(search={"split_groups": True})
    assert independent_pool(mixed(scores, scores.pool), split).pool.size == scores.pool.size
