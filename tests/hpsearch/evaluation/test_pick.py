import numpy as np
import pytest

from hpsearch.evaluation.delong import FoldScores, auroc_interval, estimate_aurocs
from hpsearch.evaluation.selection import pick

NAMES = ("latent 64", "latent 16", "latent 4", "latent 8")
SIZES = (64, 16, 4, 8)


@pytest.fixture
def scores(draw_scores) -> FoldScores:
    """The first is best and cannot be told from the second; the others are plainly worse."""
    scores = draw_scores(np.random.default_rng(0), np.array([0.97, 0.95, 0.6, 0.55]), rho=0.8)
    order = np.argsort(-estimate_aurocs(scores).values)
    assert order[0] == 0
    return scores


def test_best_takes_the_highest_value(scores):
    picked = pick(scores, NAMES, sizes=SIZES, rule="best")
    assert picked.chosen == picked.best == 0
    assert picked.sentence.startswith(
        "latent 64 has the highest value, but 20 anomalies cannot tell it from 1 other of 4 "
        "configurations (validation AUC "
    )
    assert picked.interval == auroc_interval(estimate_aurocs(scores), 0)


def test_parsimonious_takes_the_smallest_of_the_tie_set(scores):
    picked = pick(scores, NAMES, sizes=SIZES)
    assert picked.ties.tied.tolist() == [True, True, False, False]
    assert (picked.chosen, picked.best) == (1, 0)
    value, best = picked.values[:2][::-1]
    assert picked.sentence == (
        "latent 16 is the smallest of 2 configurations that 20 anomalies cannot tell from the best "
        f"(validation AUC {value:.3f}, 95 % interval {picked.interval.low:.3f} to "
        f"{picked.interval.high:.3f}; the best {best:.3f})"
    )


def test_of_one_size_the_higher_value_is_taken(scores):
    assert pick(scores, NAMES, sizes=(8, 8, 4, 4)).chosen == 0


def test_without_sizes_the_highest_value_is_taken_and_called_so(scores):
    picked = pick(scores, NAMES, sizes=(None,) * 4)
    assert picked.chosen == 0
    assert "has the highest value" in picked.sentence


def test_one_without_a_size_is_no_smallest(scores):
    assert pick(scores, NAMES, sizes=(None, 16, 4, 8)).chosen == 1
    assert pick(scores, NAMES, sizes=(64, None, 4, 8)).chosen == 0


def test_a_set_of_one_is_said_to_be_one(scores):
    picked = pick(scores.with_anomalies(np.ones(20, dtype=bool)), NAMES, sizes=SIZES, level=0.05)
    assert picked.ties.tied.sum() == 1
    assert "is the only one of 4 configurations that 20 anomalies leave as the best" in (
        picked.sentence
    )


def test_a_single_configuration_and_a_single_anomaly(scores):
    alone = FoldScores(tuple(fold[:1] for fold in scores.normals), scores.anomalies[:1])
    assert pick(alone, NAMES[:1], sizes=[None]).sentence.startswith(
        "latent 64 is the only configuration (validation AUC"
    )
    one = pick(scores.with_anomalies(np.arange(20) == 0), NAMES, sizes=SIZES)
    assert "4 configurations that 1 anomaly cannot tell from the best" in one.sentence


def test_names_and_sizes_of_other_configurations_are_refused(scores):
    with pytest.raises(ValueError, match="names"):
        pick(scores, NAMES[:3], sizes=SIZES)


def test_of_the_tied_the_cheapest_to_score_is_taken_before_the_smallest(scores):
    picked = pick(scores, NAMES, sizes=SIZES, costs=(1.0, 4.0, 0.5, 0.5))
    assert picked.chosen == 0  # the cheaper ones are not in the tie set
    assert "is the cheapest to score of 2 configurations" in picked.sentence
    assert pick(scores, NAMES, sizes=SIZES, costs=(4.0, 1.0, 9.0, 9.0)).chosen == 1
    assert pick(scores, NAMES, sizes=SIZES, costs=(2.0, 2.0, 1.0, 1.0)).chosen == 1
