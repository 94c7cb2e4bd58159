from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from hpsearch.evaluation.selection import fold_scores, held_out_scores, select, threshold_of
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.protocol.labels import LabelledAnomalies
from hpsearch.storage.results import FoldResult

N_NORMALS, N_ANOMALIES = 60, 24
GOOD, SMALL, BAD = range(3)  # trials, in their order
SIZES = {"good": 64.0, "small": 4.0, "bad": 1.0}


def _trial(number: int, kind: str) -> optuna.trial.FrozenTrial:
    choices = optuna.distributions.CategoricalDistribution(list(SIZES))
    one = optuna.distributions.CategoricalDistribution([3])
    trial = optuna.trial.create_trial(
        params={"kind": kind, "same": 3}, distributions={"kind": choices, "same": one}, value=0.5
    )
    trial.number = number
    return trial


@pytest.fixture
def stored() -> StoredScores:
    """Three folds: `good` tells most anomalies, `small` about as many, `bad` none."""
    rng = np.random.default_rng(0)
    normals = np.arange(N_NORMALS)
    pool = N_NORMALS + np.arange(N_ANOMALIES)
    of_normals = rng.normal(size=N_NORMALS)
    of_anomalies = 2 + rng.normal(size=N_ANOMALIES)
    shifts = np.array([[0.0], [-0.03], [-2.0]])
    return StoredScores(
        table=pd.DataFrame(
            {
                "image_id": [str(n) for n in range(N_NORMALS + N_ANOMALIES)],
                "group": [str(n // 2) for n in range(N_NORMALS + N_ANOMALIES)],
                "anomaly_type": [""] * N_NORMALS + ["blobs", "stripes"] * (N_ANOMALIES // 2),
            }
        ),
        trials=tuple(_trial(number, kind) for number, kind in enumerate(SIZES)),
        normals=tuple(normals[fold::3] for fold in range(3)),
        normal_scores=tuple(np.tile(of_normals[fold::3], (3, 1)) for fold in range(3)),
        pool=pool,
        pool_scores=np.repeat((of_anomalies + shifts)[:, None, :], 3, axis=1),
        test=np.empty(0, np.intp),
        fold_test_scores=np.empty((3, 3, 0)),
    )


def _labelled(positions: np.ndarray, *types: str, **more: Any) -> LabelledAnomalies:
    return LabelledAnomalies(positions, types, more.pop("anomalies", "shared"), **more)


def _select(stored: StoredScores, labelled: LabelledAnomalies, rule: Any = "parsimonious") -> Any:
    return select(
        stored,
        labelled,
        size_of=lambda p: SIZES[p["kind"]],
        cost_of=lambda p: 1.0,
        rule=rule,
        seed=0,
    )


def test_the_smallest_of_those_that_cannot_be_told_from_the_best(stored: StoredScores) -> None:
    labelled = _labelled(stored.pool[::2], "blobs")
    selection = _select(stored, labelled)
    assert selection.trial == SMALL
    assert selection.tied == (GOOD, SMALL)
    assert selection.left_out_types == ()
    assert selection.sentence.startswith(
        "trial 1 (kind=small) is the smallest of 2 configurations that 12 anomalies cannot tell"
    )
    assert _select(stored, labelled, "best").trial == GOOD


def test_each_type_is_left_out_in_turn(stored: StoredScores) -> None:
    left_out = _select(stored, _labelled(stored.pool, "blobs", "stripes")).left_out_types
    assert [(one.name, one.n_anomalies, one.trial) for one in left_out] == [
        ("blobs", 12, SMALL),
        ("stripes", 12, SMALL),
    ]
    assert all(0.8 < one.auroc <= one.best for one in left_out)


def test_only_the_labelled_anomalies_are_looked_at(stored: StoredScores) -> None:
    labelled = _labelled(stored.pool[[3, 7, 5]], "stripes")
    scores = fold_scores(stored, labelled)
    assert scores.anomalies.tolist() == stored.pool_scores[:, :, [3, 7, 5]].tolist()
    groups = stored.table["group"]
    assert scores.anomaly_groups is not None
    assert scores.anomaly_groups.tolist() == groups[labelled.positions].tolist()
    assert scores.normal_groups is not None
    assert scores.normal_groups[1].tolist() == groups[stored.normals[1]].tolist()
    assert scores.counts.all()


def test_each_fold_counts_those_that_it_scores(stored: StoredScores) -> None:
    partitioned = fold_scores(stored, _labelled(stored.pool[:6], "blobs", anomalies="partition"))
    assert partitioned.counts.astype(int).tolist() == [[1, 0, 0] * 2, [0, 1, 0] * 2, [0, 0, 1] * 2]
    listed = _labelled(stored.pool[:2], "blobs", by_fold=(stored.pool[:1], stored.pool[:2]))
    two_folds = StoredScores(
        stored.table,
        stored.trials,
        stored.normals[:2],
        stored.normal_scores[:2],
        stored.pool,
        stored.pool_scores[:, :2],
        stored.test,
        stored.fold_test_scores[:, :2],
    )
    assert fold_scores(two_folds, listed).counts.tolist() == [[True, False], [True, True]]


def test_held_out_scores_are_of_every_normal_once_as_the_final_model_scores(
    stored: StoredScores,
) -> None:
    labelled = _labelled(stored.pool[[3, 7, 5]], "stripes")
    scores = pd.DataFrame(
        {
            "image_id": stored.table["image_id"].iloc[stored.pool],
            "role": "anomaly",
            "score": stored.pool_scores[BAD, 0] + 4,  # some are negative, so it is a shift
        }
    )
    final = FoldResult("a", scores, 1, None, pd.DataFrame(), 1.0, 1.0, "cpu")
    found = held_out_scores(stored, BAD, labelled, final)
    as_they_are = np.concatenate([part[BAD] for part in stored.normal_scores])
    assert found == pytest.approx(as_they_are + 4)
    assert len(found) == N_NORMALS


def test_too_few_normals_give_no_threshold() -> None:
    nineteen = np.arange(19.0)
    found = threshold_of(nineteen, rate=0.05)
    assert found is not None
    assert found.threshold == 18.0
    assert threshold_of(nineteen[1:], rate=0.05) is None
