from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from hpsearch.config.spec import CRITERIA
from hpsearch.protocol.labels import LabelledAnomalies
from hpsearch.search.trial import Criteria, mean_values
from hpsearch.storage.results import FoldResult, read_result, write_result

RNG = np.random.default_rng(3)
TABLE = pd.DataFrame(
    {
        "image_id": [f"image {number}" for number in range(40)],
        "label": [0] * 20 + [1] * 20,
        "group": [str(number // 2) for number in range(40)],
    }
)
ROLES = ["normal"] * 12 + ["early_stop"] * 8 + ["anomaly"] * 14 + ["test"] * 6
SHARED = LabelledAnomalies(np.arange(20, 24), ("a",), "shared")


def _result() -> FoldResult:
    """Normals of the fold and the synthetic anomalies made of them, held-out normals, anomalies."""
    made = TABLE["image_id"][:12]
    frame = pd.DataFrame(
        {
            "image_id": [*TABLE["image_id"], *made],
            "role": [*ROLES, *["synthetic"] * 12],
            "score": [*RNG.integers(0, 9, 40) / 4, *RNG.integers(2, 11, 12) / 4],
        }
    )
    nothing = pd.DataFrame(columns=["step"])
    shuffled = frame.sample(frac=1, random_state=1)
    return FoldResult("a", shuffled, 1, None, nothing, 1.0, 1.0, "cpu")


def _auroc(normals: np.ndarray, anomalies: np.ndarray) -> float:
    labels = [0] * len(normals) + [1] * len(anomalies)
    return float(roc_auc_score(labels, [*normals, *anomalies]))


def _weak(result: FoldResult, positions: np.ndarray) -> float:
    real = result.scores[result.scores["role"] != "synthetic"].set_index("image_id")["score"]
    normals = real[[f"image {number}" for number in range(12)]]
    return _auroc(normals, real[[f"image {position}" for position in positions]])


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_shared_scores_every_labelled_anomaly_in_every_fold(fold: int) -> None:
    positions = np.array([20, 25, 33, 39, 21])  # 39 is on the test side: an MVTec layout
    labelled = LabelledAnomalies(positions, ("a",), "shared")
    result = _result()
    values = Criteria(TABLE, labelled, 3)(result, fold)
    assert values["weak"] == pytest.approx(_weak(result, positions), abs=1e-12)


def test_partition_scores_a_part_each_and_all_of_them_together() -> None:
    positions = np.arange(20, 31)
    labelled = LabelledAnomalies(positions, ("a",), "partition")
    result = _result()
    aurocs = [Criteria(TABLE, labelled, 3)(result, fold)["weak"] for fold in range(3)]
    parts = [positions[fold::3] for fold in range(3)]
    assert aurocs == pytest.approx([_weak(result, part) for part in parts], abs=1e-12)
    # Every pair of a normal and an anomaly counts in exactly one fold.
    pairs = sum(len(part) * auroc for part, auroc in zip(parts, aurocs, strict=True))
    assert pairs / len(positions) == pytest.approx(_weak(result, positions), abs=1e-12)


def test_the_two_that_need_no_anomaly_against_their_definitions() -> None:
    result = _result()
    values = Criteria(TABLE, SHARED, 3)(result, 0)
    score, role = result.scores["score"], result.scores["role"]
    normals, made = score[role == "normal"], score[role == "synthetic"]
    assert values["unsupervised"] == pytest.approx(-sum(normals) / 12, abs=1e-12)
    assert values["synthetic"] == pytest.approx(_auroc(normals, made), abs=1e-12)
    assert tuple(values) == CRITERIA


@pytest.mark.parametrize(
    ("role", "reads"),
    [
        ("normal", {"weak", "unsupervised", "synthetic"}),
        ("anomaly", {"weak"}),
        ("synthetic", {"synthetic"}),
        ("early_stop", set()),
        ("test", set()),
    ],
)
def test_each_reads_its_roles_and_no_other(role: str, reads: set[str]) -> None:
    criteria, result = Criteria(TABLE, SHARED, 3), _result()
    before = criteria(result, 0)
    result.scores.loc[result.scores["role"] == role, "score"] += 1e6
    after = criteria(result, 0)
    assert {name for name in CRITERIA if after[name] != before[name]} == reads


def test_from_disk_as_from_memory_to_the_last_bit(tmp_path: Path) -> None:
    """Or a search that was killed would choose by other numbers than one that was not."""
    result = _result()
    result.scores["score"] = RNG.normal(size=52).astype(np.float32).astype(np.float64)
    write_result(tmp_path, {}, result)
    read = read_result(tmp_path, result.digest)
    assert read is not None
    criteria = Criteria(TABLE, SHARED, 3)
    assert criteria(read, 1) == criteria(result, 1)


def test_means_do_not_hang_on_the_order_of_the_folds() -> None:
    folds = [dict.fromkeys(CRITERIA, value) for value in (0.1, 0.2, 0.3)]
    forth = mean_values(dict(enumerate(folds)))
    assert forth == mean_values(dict(reversed(list(enumerate(folds)))))
    assert forth["weak"] == pytest.approx(0.2, abs=1e-15)
