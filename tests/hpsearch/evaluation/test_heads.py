"""Which head is the best, and what is said of types that it is not trained on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpsearch.evaluation.heads import best_head, sees_residuals, types_in_words
from hpsearch.evaluation.selection import HeldOutType, fold_scores
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.protocol.labels import LabelledAnomalies, split_labels

N_FOLDS = 3
TABLE = pd.DataFrame(
    {
        "image_id": [str(number) for number in range(12)],
        "label": [1] * 6 + [0] * 6,
        "anomaly_type": ["a"] * 6 + [""] * 6,
        "group": [f"g{number}" for number in range(12)],
        "split": "train",
    }
)
LABELLED = LabelledAnomalies(np.arange(6), ("a",), "shared")


@dataclass(frozen=True)
class Trial:
    number: int
    params: dict[str, Any]


def _heads(rights: list[int], params: list[dict[str, Any]]) -> StoredScores:
    """Heads that find so many of the six anomalies, and score what they were trained on as NaN."""
    pool = np.full((len(rights), N_FOLDS, 6), np.nan)
    for fold in range(N_FOLDS):
        scored = split_labels(TABLE, LABELLED, fold=fold, n_folds=N_FOLDS).scored
        for row, right in enumerate(rights):
            pool[row, fold, scored] = np.where(scored < right, 2.0, 0.0)
    return StoredScores(
        table=TABLE,
        trials=tuple(Trial(10 + n, one) for n, one in enumerate(params)),  # type: ignore[arg-type]
        normals=tuple(np.arange(6 + 2 * fold, 8 + 2 * fold) for fold in range(N_FOLDS)),
        normal_scores=tuple(np.ones((len(rights), 2)) for _ in range(N_FOLDS)),
        pool=np.arange(6),
        pool_scores=pool,
        test=np.empty(0, dtype=np.intp),
        fold_test_scores=np.empty((len(rights), N_FOLDS, 0)),
        trained_on_labels=True,
    )


@pytest.mark.parametrize(
    ("inputs", "best"),
    [
        (["raw", "both", "residual"], 12),
        (["raw", "both", "raw"], 11),
        (["raw", "raw", "raw"], 10),
    ],
)
@pytest.mark.parametrize("prefix", ["", "few."])
def test_residuals_go_before_a_higher_auc(inputs: list[str], best: int, prefix: str) -> None:
    several = {"detector": "few"} if prefix else {}
    params = [several | {f"{prefix}inputs": one} for one in inputs]
    assert best_head(_heads([6, 3, 4], params), LABELLED) == best
    assert [sees_residuals(one) for one in params] == [one != "raw" for one in inputs]


def test_each_fold_counts_its_own_part_alone() -> None:
    scores = fold_scores(_heads([6], [{}]), LABELLED)
    assert scores.counts.sum(axis=0).tolist() == [1] * 6
    assert np.isfinite(scores.anomalies[:, scores.counts]).all()
    assert np.isnan(scores.anomalies[:, ~scores.counts]).all()


def test_what_is_known_of_other_types_is_said() -> None:
    assert "label a second type" in types_in_words(())[0]
    lines = types_in_words((HeldOutType("a", 6, 0.9, 0.7),))
    assert lines == ("trained without a: AUC 0.700 on it; trained on it too 0.900",)
