import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from hpsearch.budget import LabelledAnomalies
from hpsearch.objective import Objective, scores_at
from hpsearch.results import FoldResult

RNG = np.random.default_rng(3)
TABLE = pd.DataFrame(
    {
        "image_id": [f"image {number}" for number in range(40)],
        "label": [0] * 20 + [1] * 20,
        "group": [str(number // 2) for number in range(40)],
    }
)


def _result(table: pd.DataFrame = TABLE) -> FoldResult:
    """Normals of the fold, held-out normals, and anomalies; in another order than the table's."""
    roles = ["normal"] * 12 + ["early_stop"] * 8 + ["anomaly"] * 14 + ["test"] * 6
    scores = pd.DataFrame(
        {"image_id": table["image_id"], "role": roles, "score": RNG.integers(0, 9, 40) / 4}
    ).sample(frac=1, random_state=1)
    nothing = pd.DataFrame()
    return FoldResult("a", scores, 1, None, nothing, 1.0, 1.0, "cpu")


def _expected(result: FoldResult, positions: np.ndarray) -> float:
    scores = result.scores.set_index("image_id")["score"]
    normals = scores[[f"image {number}" for number in range(12)]]
    anomalies = scores[[f"image {position}" for position in positions]]
    labels = [0] * len(normals) + [1] * len(anomalies)
    return float(roc_auc_score(labels, [*normals, *anomalies]))


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_shared_scores_every_labelled_anomaly_in_every_fold(fold: int) -> None:
    positions = np.array([20, 25, 33, 39, 21])  # 39 is on the test side: an MVTec layout
    labelled = LabelledAnomalies(positions, ("a",), "shared")
    result = _result()
    auroc = Objective(TABLE, labelled, 3)(result, fold)
    assert auroc == pytest.approx(_expected(result, positions), abs=1e-12)


def test_partition_scores_a_part_each_and_all_of_them_together() -> None:
    positions = np.arange(20, 31)
    labelled = LabelledAnomalies(positions, ("a",), "partition")
    result = _result()
    aurocs = [Objective(TABLE, labelled, 3)(result, fold) for fold in range(3)]
    parts = [positions[fold::3] for fold in range(3)]
    assert aurocs == pytest.approx([_expected(result, part) for part in parts], abs=1e-12)
    # Every pair of a normal and an anomaly counts in exactly one fold.
    pairs = sum(len(part) * auroc for part, auroc in zip(parts, aurocs, strict=True))
    assert pairs / len(positions) == pytest.approx(_expected(result, positions), abs=1e-12)


def test_normals_held_out_for_early_stopping_do_not_count() -> None:
    labelled = LabelledAnomalies(np.arange(20, 24), ("a",), "shared")
    result = _result()
    before = Objective(TABLE, labelled, 3)(result, 0)
    result.scores.loc[result.scores["role"] == "early_stop", "score"] = 1e6
    assert Objective(TABLE, labelled, 3)(result, 0) == before


def test_scores_are_found_by_image_and_not_by_row() -> None:
    result = _result()
    positions = np.array([39, 0, 20])
    by_id = dict(zip(result.scores["image_id"], result.scores["score"], strict=True))
    found = scores_at(result, TABLE, positions)
    assert list(found) == [by_id["image 39"], by_id["image 0"], by_id["image 20"]]
