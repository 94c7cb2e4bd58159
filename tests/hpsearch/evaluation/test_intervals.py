import numpy as np
import pytest
from scipy import stats

from hpsearch.evaluation.delong import AurocEstimates, FoldScores, auroc_interval, estimate_aurocs


def perfect(n_anomaly: int) -> AurocEstimates:
    return estimate_aurocs(FoldScores((np.zeros((2, 50)),), np.ones((2, 1, n_anomaly))))


def test_the_interval_covers_the_true_auc_at_its_level(draw_scores):
    rng, aurocs = np.random.default_rng(0), np.array([0.7, 0.8, 0.9, 0.95])
    covered, plain = np.zeros(4), np.zeros(4)
    for _ in range(1000):
        estimates = estimate_aurocs(draw_scores(rng, aurocs))
        intervals = np.array([auroc_interval(estimates, c) for c in range(4)])
        covered += (intervals[:, 0] <= aurocs) & (aurocs <= intervals[:, 1])
        error = np.sqrt(estimates.covariance.diagonal())
        plain += abs(estimates.values - aurocs) <= 1.96 * error
    # 93 to 97 %, less or more two standard deviations of the count.
    slack = 2 * (0.95 * 0.05 / 1000) ** 0.5
    assert covered[:3].min() / 1000 >= 0.93 - slack
    assert covered.max() / 1000 <= 0.97 + slack
    # An AUC of 0.95 rests on a few hard anomalies, which 20 may not hold.
    assert covered[3] / 1000 >= 0.9
    assert plain[2] / 1000 < 0.93 - slack  # DeLong's own, without the draw and the log odds


def test_perfect_scores_of_few_anomalies_are_no_proof():
    # The exact binomial bound for 20 of 20 is 0.832 (Clopper & Pearson 1934).
    exact = stats.binomtest(20, 20).proportion_ci().low
    assert auroc_interval(perfect(20), 0).low == pytest.approx(exact, abs=0.02)
    lows = [auroc_interval(perfect(n), 0).low for n in (1, 2, 5, 20, 200)]
    assert lows == sorted(lows)
    assert 0 < lows[0] < 0.01
    assert auroc_interval(perfect(200), 0).high == 1, "it holds the value that was found"


def test_a_lower_level_is_narrower(draw_scores):
    estimates = estimate_aurocs(draw_scores(np.random.default_rng(3), np.array([0.8])))
    wide, narrow = (auroc_interval(estimates, 0, level=level) for level in (0.95, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high
