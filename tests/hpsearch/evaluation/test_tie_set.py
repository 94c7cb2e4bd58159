import numpy as np
import pytest
from scipy.stats import dunnett, multivariate_t, t

from hpsearch.evaluation import selection as module
from hpsearch.evaluation.delong import AurocEstimates, FoldScores, estimate_aurocs
from hpsearch.evaluation.selection import tie_set

N_SIMULATED = 1000
# 93 % of 1,000 less two standard deviations of the count.
COVERED = 0.93 - 2 * (0.93 * 0.07 / N_SIMULATED) ** 0.5
REGIMES = {
    "all equal": np.full(12, 0.8),
    "one best": np.r_[0.88, np.full(11, 0.8)],
    "graded": np.linspace(0.93, 0.75, 12),
}


def pairwise_rule(estimates: AurocEstimates) -> np.ndarray:
    """The naive set: whoever a paired 95 % test does not part from the observed best."""
    best = estimates.values.argmax()
    covariance = estimates.covariance
    spread = covariance.diagonal() + covariance[best, best] - 2 * covariance[best]
    return estimates.values[best] - estimates.values <= 1.96 * np.sqrt(np.maximum(spread, 0))


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(module, "N_DRAWS", 400)


def simulate(draw_scores, aurocs) -> tuple[float, float, float]:
    """How often the true best is in the tie set and in the naive one, and the tie set's size."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(N_SIMULATED):
        estimates = estimate_aurocs(draw_scores(rng, aurocs, n_normal=120))
        tied = tie_set(estimates, seed=seed).tied
        found.append((tied[0], pairwise_rule(estimates)[0], tied.sum()))
    covered, naive, size = np.mean(found, axis=0)
    return covered, naive, size


@pytest.mark.parametrize("regime", REGIMES)
def test_it_covers_the_true_best_at_its_level(draw_scores, few_draws, regime):
    covered, naive, size = simulate(draw_scores, REGIMES[regime])
    assert covered >= COVERED
    if regime == "all equal":  # where the observed best is the luckiest of twelve
        assert naive < COVERED
    if regime == "graded":  # and it is no set of all
        assert size < 10.5


def test_equal_variances_give_dunnetts_test():
    # Of groups of one variance with a control, the test of the control is Dunnett's 1955.
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(5, 40)) + np.array([0.0, 0.1, 0.2, 0.3, 0.5])[:, None]
    theirs = dunnett(*samples[1:], control=samples[0], alternative="greater", rng=rng).pvalue.min()
    pooled = samples.var(axis=1, ddof=1).mean() / 40
    # The draw makes A into A + 1: undo it, so that the very same numbers are tested.
    scale = 1e-3  # keeps the draw's own spread out
    estimates = AurocEstimates(
        0.5 + scale * samples.mean(axis=1),
        np.eye(5) * pooled * scale**2,
        np.zeros((5, 5)),
        n_anomaly=5 * 39,
        n_normal=1,
    )
    assert tie_set(estimates).p_values[0] == pytest.approx(theirs, abs=0.015)


def test_two_configurations_are_a_paired_one_sided_t_test(draw_scores):
    estimates = estimate_aurocs(draw_scores(np.random.default_rng(3), np.array([0.95, 0.75])))
    drawn = estimates.with_a_draw()
    weights = np.array([1.0, -1.0])
    shortfall = weights @ drawn.values / np.sqrt(weights @ drawn.covariance @ weights)
    expected = t.sf(shortfall, drawn.degrees_of_freedom(weights))
    assert shortfall > 1
    assert tie_set(estimates).p_values == pytest.approx([1.0, expected], abs=0.01)


def test_three_configurations_are_students_t_of_their_correlated_differences(draw_scores):
    """The largest of several differences, each in its own standard error."""
    aurocs = np.array([0.85, 0.8, 0.8])
    estimates = estimate_aurocs(draw_scores(np.random.default_rng(7), aurocs, rho=0.8))
    drawn = estimates.with_a_draw()
    freedom = drawn.degrees_of_freedom(np.eye(3) - 1 / 3)
    expected = []
    for configuration in range(3):
        contrasts = np.delete(np.eye(3), configuration, axis=0) - np.eye(3)[configuration]
        covariance = contrasts @ drawn.covariance @ contrasts.T
        error = np.sqrt(np.diag(covariance))
        shortfall = (contrasts @ drawn.values / error).max()
        correlation = covariance / np.outer(error, error)
        below = multivariate_t(shape=correlation, df=freedom, seed=0).cdf([shortfall] * 2)
        expected.append(1.0 if shortfall < 0 else 1 - below)
    assert sorted(expected)[0] < 0.3
    assert tie_set(estimates).p_values == pytest.approx(expected, abs=0.02)


def test_configurations_that_score_alike_are_tied_together(draw_scores):
    scores = draw_scores(np.random.default_rng(4), np.array([0.95, 0.6]), rho=0.8)
    twice = [0, 0, 1]
    doubled = FoldScores(tuple(fold[twice] for fold in scores.normals), scores.anomalies[twice])
    assert tie_set(estimate_aurocs(doubled)).tied.tolist() == [True, True, False]


def test_it_is_not_changed_by_copies_of_a_configuration(draw_scores):
    scores = draw_scores(np.random.default_rng(5), np.array([0.9, 0.75, 0.8]))
    copies = [0, 1, 2, 2, 2]
    copied = FoldScores(tuple(fold[copies] for fold in scores.normals), scores.anomalies[copies])
    alone = tie_set(estimate_aurocs(scores)).p_values
    assert tie_set(estimate_aurocs(copied)).p_values[:3] == pytest.approx(alone, abs=0.02)


def test_one_anomaly_ties_all_and_perfect_scores_are_tied():
    anomalies = np.array([[[9.0]], [[0.0]], [[5.0]]])
    one = estimate_aurocs(FoldScores((np.tile(np.arange(8.0), (3, 1)),), anomalies))
    assert tie_set(one).tied.all()
    perfect = estimate_aurocs(FoldScores((np.zeros((3, 9)),), np.ones((3, 1, 9))))
    assert tie_set(perfect).p_values.tolist() == [1.0, 1.0, 1.0]


def test_a_useless_configuration_is_not_tied_with_a_perfect_one():
    anomalies = np.stack([np.ones((1, 20)), np.zeros((1, 20))])
    estimates = estimate_aurocs(FoldScores((np.zeros((2, 50)),), anomalies))
    assert tie_set(estimates).tied.tolist() == [True, False]


def test_the_same_seed_gives_the_same_set(draw_scores):
    estimates = estimate_aurocs(draw_scores(np.random.default_rng(6), np.linspace(0.7, 0.9, 8)))
    first, again, other = (tie_set(estimates, seed=seed).p_values for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
