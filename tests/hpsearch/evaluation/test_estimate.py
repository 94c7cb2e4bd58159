import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from hpsearch.evaluation.auroc import estimate
from hpsearch.storage.results import FoldResult

TABLE = pd.DataFrame(
    {"image_id": [f"{n}" for n in range(60)], "group": [f"{n // 3}" for n in range(60)]}
)
NORMALS, ANOMALIES = np.arange(0, 36), np.arange(36, 60)
LABELS = np.repeat([0, 1], [36, 24])


def _run(seed: int, shift: float = 1.0) -> FoldResult:
    scores = np.random.default_rng(seed).normal(size=60) + shift * LABELS
    nothing = pd.DataFrame()
    frame = pd.DataFrame({"image_id": TABLE["image_id"], "role": "test", "score": scores})
    return FoldResult(str(seed), frame, 1, None, nothing, 1.0, 1.0, "cpu")


def _auroc(run: FoldResult) -> float:
    return float(roc_auc_score(LABELS, run.scores["score"]))


def test_several_runs_give_the_mean_of_their_aucs() -> None:
    runs = [_run(seed) for seed in range(3)]
    found = estimate(runs, TABLE, NORMALS, ANOMALIES, seed=0)
    assert found.auroc == pytest.approx(np.mean([_auroc(run) for run in runs]), abs=1e-12)
    assert found.low < found.auroc < found.high
    assert (found.n_normal, found.n_anomaly) == (36, 24)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two normal distributions a standard deviation apart: AUC = Phi(1 / sqrt 2) = 0.760."""
    found = [estimate([_run(seed)], TABLE, NORMALS, ANOMALIES, seed=0) for seed in range(60)]
    covered = np.mean([one.low <= 0.760 <= one.high for one in found])
    assert 0.83 <= covered <= 1.0


def test_the_seed_decides_the_interval() -> None:
    once, again, other = (estimate([_run(1)], TABLE, NORMALS, ANOMALIES, seed=s) for s in (0, 0, 1))
    assert once == again
    assert (once.low, once.high) != (other.low, other.high)
    assert once.auroc == other.auroc


def test_groups_widen_the_interval_where_they_agree() -> None:
    run = _run(5)
    run.scores["score"] = run.scores["score"].groupby(np.arange(60) // 3).transform("first")
    grouped = estimate([run], TABLE, NORMALS, ANOMALIES, seed=0)
    alone = estimate([run], TABLE.assign(group=TABLE["image_id"]), NORMALS, ANOMALIES, seed=0)
    assert grouped.high - grouped.low > 1.2 * (alone.high - alone.low)


def test_only_the_images_asked_for_count() -> None:
    run = _run(2)
    found = estimate([run], TABLE, NORMALS[:10], ANOMALIES[5:9], seed=0)
    chosen = np.r_[NORMALS[:10], ANOMALIES[5:9]]
    expected = roc_auc_score(LABELS[chosen], run.scores["score"].iloc[chosen])
    assert found.auroc == pytest.approx(expected, abs=1e-12)


def test_one_normal_and_one_anomaly_have_an_auc_and_no_interval() -> None:
    found = estimate([_run(0, shift=9.0)], TABLE, NORMALS[:1], ANOMALIES[:1], seed=0)
    assert (found.auroc, found.low, found.high, found.interval) == (1.0, None, None, None)
    assert found.interval_words() == "cannot be had"
    assert "1 normal and 1 anomalous test images" in str(found.why_no_interval())
    plenty = estimate([_run(0)], TABLE, NORMALS, ANOMALIES, seed=0)
    assert plenty.interval_words(dash="–") == f"{plenty.low:.3f} – {plenty.high:.3f}"
    assert plenty.why_no_interval() is None
