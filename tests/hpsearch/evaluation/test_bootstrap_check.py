import numpy as np
import pytest
from scipy import stats

from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.delong import FoldScores, estimate_aurocs
from tools import bootstrap_check as bootstrap
from tools.bootstrap_check import bootstrap_aurocs


def test_its_spread_is_scipys_for_one_fold():
    rng = np.random.default_rng(0)
    normals, anomalies = rng.normal(size=60).round(1), (rng.normal(size=25) + 1).round(1)
    ours = bootstrap_aurocs(FoldScores((normals[None],), anomalies[None, None]), n_resamples=4000)
    theirs = stats.bootstrap(
        (normals, anomalies), auroc, vectorized=False, n_resamples=2000, method="percentile", rng=1
    )
    assert ours.std() == pytest.approx(theirs.standard_error, rel=0.06)
    low, high = np.quantile(ours, (0.025, 0.975))
    assert (low, high) == pytest.approx(theirs.confidence_interval, abs=0.015)


@pytest.mark.parametrize("partition", [False, True])
def test_its_covariance_is_delongs(draw_scores, partition):
    drawn = draw_scores(
        np.random.default_rng(1), np.array([0.75, 0.8, 0.85]), n_normal=150, n_anomaly=60, rho=0.6
    )
    dealt = np.arange(60) % 3 == np.arange(3)[:, None] if partition else None
    scores = FoldScores(drawn.normals, drawn.anomalies, dealt)
    estimates = estimate_aurocs(scores)
    resampled = bootstrap_aurocs(scores, n_resamples=3000)
    assert np.cov(resampled.T) == pytest.approx(estimates.covariance, rel=0.12)
    assert resampled.mean(axis=0) == pytest.approx(estimates.values, abs=0.005)


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(2)
    slides = np.repeat(np.arange(10), 8)
    anomalies = 1 + rng.normal(size=10)[slides] + 0.3 * rng.normal(size=80)
    normals = rng.normal(size=(1, 300))
    grouped = FoldScores((normals,), anomalies[None, None], anomaly_groups=slides)
    spread = bootstrap_aurocs(grouped, n_resamples=3000).std()
    assert spread == pytest.approx(estimate_aurocs(grouped).covariance[0, 0] ** 0.5, rel=0.12)
    assert spread > 1.8 * bootstrap_aurocs(FoldScores((normals,), anomalies[None, None])).std()


def test_configurations_meet_the_same_resamples(draw_scores):
    scores = draw_scores(np.random.default_rng(3), np.array([0.8]))
    mirrored = FoldScores(
        tuple(np.vstack([fold, -fold]) for fold in scores.normals),
        np.vstack([scores.anomalies, -scores.anomalies]),
    )
    assert bootstrap_aurocs(mirrored, n_resamples=50).sum(axis=1) == pytest.approx(np.ones(50))


def test_it_does_not_depend_on_the_size_of_its_chunks(draw_scores, monkeypatch):
    scores = draw_scores(np.random.default_rng(4), np.array([0.8, 0.9]))
    whole = bootstrap_aurocs(scores, n_resamples=101)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 7 * 300)
    assert (bootstrap_aurocs(scores, n_resamples=101) == whole).all()


def test_a_fold_that_a_resample_leaves_empty_is_passed_over():
    # Three anomalies dealt to three folds: most resamples miss one of them.
    normals = tuple(np.arange(10.0)[None] for _ in range(3))
    anomalies = np.array([[[9.5, 0, 0], [0, 4.5, 0], [0, 0, 9.5]]])
    resampled = bootstrap_aurocs(FoldScores(normals, anomalies, np.eye(3, dtype=bool)))
    assert np.isfinite(resampled).all()
    assert resampled.std() > 0.1
