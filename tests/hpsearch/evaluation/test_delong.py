import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hpsearch.evaluation.delong import FoldScores, estimate_aurocs


def one_fold(normals, anomalies, **groups) -> FoldScores:
    normals, anomalies = np.atleast_2d(normals), np.atleast_2d(anomalies)
    return FoldScores((normals.astype(float),), anomalies[:, None].astype(float), **groups)


def textbook_covariance(normals, anomalies):
    """DeLong 1988, equations 4 to 7, pair by pair."""
    n_configurations, m, n = len(normals), len(anomalies[0]), len(normals[0])
    psi = np.array(
        [
            [[(x > y) + 0.5 * (x == y) for y in normals[c]] for x in anomalies[c]]
            for c in range(n_configurations)
        ]
    )
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    return np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n


def test_the_published_example_of_readings_on_a_scale_of_five():
    # 58 normal and 51 abnormal readings of Hanley & McNeil 1982, table I; area and standard error
    # of DeLong's method as Stata's reference manual prints them (roctab, example 1).
    normals = np.repeat(np.arange(5), (33, 6, 6, 11, 2))
    abnormal = np.repeat(np.arange(5), (3, 2, 2, 11, 33))
    estimates = estimate_aurocs(one_fold(normals, abnormal))
    assert estimates.values[0] == pytest.approx(0.8932, abs=5e-5)
    assert np.sqrt(estimates.covariance[0, 0]) == pytest.approx(0.0307, abs=5e-5)


def test_three_against_three_by_hand():
    # Placements of the anomalies 1/3, 1, 1 and 1, 1, 2/3; of the normals 2/3, 2/3, 1 and 2/3, 1, 1.
    normals = [[1, 3, 0], [3, 0, 1]]
    anomalies = [[0.5, 4, 5], [4, 5, 2]]
    estimates = estimate_aurocs(one_fold(normals, anomalies))
    assert estimates.values == pytest.approx([7 / 9, 8 / 9])
    # Sums of squares and products about the means, over n - 1 = 2 and n = 3.
    assert estimates.from_anomalies.diagonal() == pytest.approx([8 / 27 / 6, 2 / 27 / 6])
    assert estimates.from_anomalies[0, 1] == pytest.approx(-2 / 27 / 6)
    assert estimates.from_normals.diagonal() == pytest.approx([2 / 27 / 6, 2 / 27 / 6])
    assert estimates.from_normals[0, 1] == pytest.approx(1 / 27 / 6)


def test_one_fold_agrees_with_the_textbook_pair_by_pair():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(4, 23)).round(1)
    anomalies = (rng.normal(size=(4, 9)) + 1).round(1)
    ours = estimate_aurocs(one_fold(normals, anomalies)).covariance
    assert ours == pytest.approx(textbook_covariance(normals, anomalies), abs=1e-14)


@pytest.mark.parametrize("partition", [False, True])
def test_the_values_are_the_means_of_scikit_learns(draw_scores, partition):
    scores = draw_scores(np.random.default_rng(1), np.array([0.7, 0.9]), n_normal=31, n_anomaly=7)
    dealt = np.arange(7) % 3 == np.arange(3)[:, None] if partition else np.ones((3, 7), dtype=bool)
    scores = FoldScores(scores.normals, scores.anomalies, dealt)
    for c, value in enumerate(estimate_aurocs(scores).values):
        folds = [
            roc_auc_score(
                [0] * normals.shape[1] + [1] * dealt[f].sum(),
                np.concatenate([normals[c], scores.anomalies[c, f, dealt[f]]]),
            )
            for f, normals in enumerate(scores.normals)
        ]
        assert value == pytest.approx(np.mean(folds), abs=1e-12)


@pytest.mark.parametrize(("partition", "most"), [(False, 1.15), (True, 1.3)])
def test_the_covariance_is_that_of_many_draws(draw_scores, partition, most):
    rng, aurocs = np.random.default_rng(2), np.array([0.75, 0.8, 0.8])
    dealt = np.arange(21) % 3 == np.arange(3)[:, None] if partition else None
    found = []
    for _ in range(800):
        drawn = draw_scores(rng, aurocs, n_normal=60, n_anomaly=21, rho=0.6)
        found.append(estimate_aurocs(FoldScores(drawn.normals, drawn.anomalies, dealt)))
    expected = np.cov(np.array([one.values for one in found]).T)
    mean = np.mean([one.covariance for one in found], axis=0)
    # A variance of 800 draws has a standard error of 5 %. With partitioned anomalies what the
    # folds' few normals differ by counts as the anomalies' spread too: it errs on the wide side.
    assert (mean >= 0.85 * expected).all()
    assert (mean <= most * expected).all()


def test_groups_widen_the_error_to_that_of_their_means():
    rng = np.random.default_rng(3)
    offsets = rng.normal(size=12)
    scores = one_fold(rng.normal(size=(1, 400)), 1 + np.repeat(offsets, 10)[None])
    grouped = FoldScores(
        scores.normals, scores.anomalies, anomaly_groups=np.repeat(np.arange(12), 10)
    )
    once = one_fold(scores.normals[0], 1 + offsets[None])
    # Ten copies of an image in one group tell no more than the image.
    assert estimate_aurocs(grouped).from_anomalies == pytest.approx(
        estimate_aurocs(once).from_anomalies
    )
    assert estimate_aurocs(grouped).n_anomaly == 12


def test_a_draw_more_is_an_anomaly_of_placement_one_half():
    rng = np.random.default_rng(4)
    normals, anomalies = rng.normal(size=(2, 40)), rng.normal(size=(2, 6)) + 1
    ours = estimate_aurocs(one_fold(normals, anomalies)).with_a_draw()
    middle = np.median(normals, axis=1, keepdims=True)  # above half of forty
    really = estimate_aurocs(one_fold(normals, np.hstack([anomalies, middle])))
    assert ours.values == pytest.approx(really.values)
    assert ours.from_anomalies == pytest.approx(really.from_anomalies)
    assert ours.n_anomaly == really.n_anomaly == 7


def test_degrees_of_freedom_lie_between_those_of_the_parts():
    rng = np.random.default_rng(5)
    estimates = estimate_aurocs(one_fold(rng.normal(size=(2, 30)), rng.normal(size=(2, 5)) + 1))
    one = estimates.degrees_of_freedom(np.array([1.0, 0.0]))
    assert 4 <= one <= 4 + 29
    parts = [estimates.from_anomalies[0, 0], estimates.from_normals[0, 0]]
    assert one == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 29))


def test_one_anomaly_has_no_spread_and_still_a_value():
    estimates = estimate_aurocs(one_fold([[0, 1, 2, 3]], [[2.5]]))
    assert estimates.values.tolist() == [0.75]
    assert estimates.from_anomalies.tolist() == [[0.0]]
    assert estimates.with_a_draw().from_anomalies[0, 0] == pytest.approx(0.25**2 / 4)
