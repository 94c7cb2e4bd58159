from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hpsearch.evaluation.label_budget.simulation import (
    Question,
    cross_validated,
    pool_placements,
    simulate,
)
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.protocol.labels import AnomalyUse, LabelledAnomalies, labelled_for_fold


@pytest.mark.parametrize("anomalies", get_args(AnomalyUse))
@pytest.mark.parametrize("n_examples", [3, 8])
def test_cross_validated_auc_is_that_of_the_drawn_anomalies(
    n_examples: int, anomalies: AnomalyUse, made: Callable[..., StoredScores]
) -> None:
    """By scikit-learn, fold by fold with the anomalies that the study's own rule gives the fold."""
    scores = made(configurations=3)
    rng = np.random.default_rng(1)
    selected = np.stack([rng.permutation(len(scores.pool))[:n_examples] for _ in range(6)])
    found = cross_validated(pool_placements(scores), selected, anomalies)
    for repeat, drawn in enumerate(selected):
        labelled = LabelledAnomalies(drawn, (), anomalies)
        for number in range(3):
            expected = fmean(
                _auc(normals[number], scores.pool_scores[number, fold, of_fold])
                for fold, normals in enumerate(scores.normal_scores)
                for of_fold in [labelled_for_fold(labelled, fold, 3)]
            )
            assert found[number, repeat] == pytest.approx(expected, abs=1e-11)


def _auc(normals: np.ndarray, anomalies: np.ndarray) -> float:
    labels = np.repeat([0, 1], [len(normals), len(anomalies)])
    return float(roc_auc_score(labels, np.concatenate([normals, anomalies])))


def test_the_earliest_of_equals_is_chosen(made: Callable[..., StoredScores]) -> None:
    scores = made(configurations=3)
    twins = replace(
        scores,
        normal_scores=tuple(normals[[0, 1, 1]] for normals in scores.normal_scores),
        pool_scores=scores.pool_scores[[0, 1, 1]],
    )
    for choices in simulate(twins, Question(repeats=20), "shared").choices:
        assert set(choices.configurations) <= {0, 1}


def test_equal_placements_in_another_order_are_equal_values() -> None:
    """A sum in another order differs in its last bits, and must not decide a choice."""
    values = np.random.default_rng(0).random(50)
    placed = np.stack([values, values[::-1]])[:, None, :].repeat(3, axis=1)
    found = cross_validated(placed, np.arange(50)[None], "shared")
    assert found[0] == found[1]
