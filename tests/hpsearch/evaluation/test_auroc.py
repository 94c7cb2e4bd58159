"""AUC, weighted AUC, bootstrap and planned standard error, each against another source."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hpsearch.errors import DataError
from hpsearch.evaluation import auroc as metrics
from hpsearch.evaluation.auroc import auroc, bootstrap_auroc, hanley_mcneil_se, weighted_aurocs

# Few distinct values, so that ties are the rule.
tied_scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


def count_pairs(normals: list[float], anomalies: list[float]) -> float:
    wins = [(a > n) + 0.5 * (a == n) for a in anomalies for n in normals]
    return sum(wins) / len(wins)


@given(tied_scores, tied_scores)
@settings(deadline=None)
def test_auroc_counts_pairs_and_ties_one_half(normals: list[float], anomalies: list[float]) -> None:
    assert auroc(normals, anomalies) == pytest.approx(count_pairs(normals, anomalies), abs=1e-12)


def test_auroc_agrees_with_scikit_learn_on_single_precision_scores() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=500).astype(np.float32).round(1)
    labels = rng.integers(2, size=500)
    ours = auroc(scores[labels == 0], scores[labels == 1])
    assert ours == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("normals", "anomalies", "words"),
    [
        ([], [1.0], "normal scores: there are none"),
        ([1.0], [], "anomaly scores: there are none"),
        ([1.0, np.nan, np.inf], [1.0], "normal scores: 2 of 3 are not finite"),
        ([1.0], [-np.inf], "anomaly scores: 1 of 1 are not finite"),
    ],
)
def test_auroc_refuses_what_has_no_rank(
    normals: list[float], anomalies: list[float], words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        auroc(normals, anomalies)
    assert "\n" not in str(caught.value)


@given(st.data())
@settings(deadline=None)
def test_weighted_aurocs_agree_with_scikit_learn(data: st.DataObject) -> None:
    normals, anomalies = data.draw(tied_scores), data.draw(tied_scores)

    def weights(n: int) -> NDArray[np.float64]:
        # The first image always counts, so that no class is weighted away.
        drawn = data.draw(st.lists(st.integers(0, 3), min_size=2 * n, max_size=2 * n))
        rows = np.array(drawn, dtype=np.float64).reshape(2, n)
        rows[:, 0] += 1
        return rows

    normal_weights, anomaly_weights = weights(len(normals)), weights(len(anomalies))
    ours = weighted_aurocs(
        normals, anomalies, normal_weights=normal_weights, anomaly_weights=anomaly_weights
    )
    labels = [0] * len(normals) + [1] * len(anomalies)
    for row in range(2):
        theirs = roc_auc_score(
            labels,
            normals + anomalies,
            sample_weight=np.concatenate([normal_weights[row], anomaly_weights[row]]),
        )
        assert ours[row] == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    ("normal_weights", "words"),
    [
        ([[1.0]], "shape"),
        ([1.0, 1.0], "shape"),
        ([[1.0, -0.5]], "negative"),
        ([[0.0, 0.0]], "positive sum"),
        ([[1.0, 1.0], [1.0, 1.0]], "rows of weights differ"),
    ],
)
def test_weighted_aurocs_refuses_weights_that_do_not_fit(
    normal_weights: list[list[float]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        weighted_aurocs([0.0, 1.0], [2.0], normal_weights=normal_weights, anomaly_weights=[[1.0]])


def naive_bootstrap(
    labels: NDArray[np.int64], scores: NDArray[np.float64], groups: NDArray[np.int64], *, n: int
) -> tuple[float, float]:
    """Images of the drawn groups put together one resample at a time, by another generator."""
    rng = np.random.RandomState(9)
    aucs = []
    for _ in range(n):
        rows = []
        for label in (0, 1):
            names = np.unique(groups[labels == label])
            for name in rng.choice(names, size=names.size):
                rows.append(np.flatnonzero((labels == label) & (groups == name)))
        drawn = np.concatenate(rows)
        aucs.append(roc_auc_score(labels[drawn], scores[drawn]))
    low, high = np.quantile(aucs, (0.025, 0.975))
    return float(low), float(high)


def clustered(
    seed: int, *, n_groups: int, size: int, spread: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Groups of `size` images that share an offset; half of the groups are anomalous."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), size)
    labels = groups % 2
    offsets = rng.normal(scale=spread, size=n_groups)[groups]
    return labels, offsets + rng.normal(size=groups.size) + labels, groups


def test_bootstrap_agrees_with_a_resampling_done_image_by_image() -> None:
    labels, scores, groups = clustered(1, n_groups=24, size=5, spread=1.0)
    ours = bootstrap_auroc(labels, scores.round(1), groups, n_resamples=4000)
    theirs = naive_bootstrap(labels, scores.round(1), groups, n=1000)
    # The ends of 1,000 resamples wander by about 0.006.
    assert ours == pytest.approx(theirs, abs=0.02)


def test_bootstrap_of_clustered_images_is_wider_by_group_than_by_image() -> None:
    labels, scores, groups = clustered(2, n_groups=30, size=20, spread=1.0)
    by_group = bootstrap_auroc(labels, scores, groups)
    by_image = bootstrap_auroc(labels, scores, np.arange(labels.size))
    assert by_group.high - by_group.low > 2 * (by_image.high - by_image.low)
    half = bootstrap_auroc(labels, scores, groups, level=0.5)
    assert by_group.low < half.low < half.high < by_group.high


def test_bootstrap_covers_the_true_auc_at_its_level() -> None:
    rng = np.random.default_rng(3)
    true_auc = 0.76024994  # Phi(1 / sqrt 2): unit normals one apart
    labels = np.repeat([0, 1], [120, 60])
    covered = 0
    for draw in range(300):
        interval = bootstrap_auroc(
            labels, rng.normal(size=180) + labels, np.arange(180), n_resamples=300, seed=draw
        )
        covered += interval.low <= true_auc <= interval.high
    # 95 % of 300 with a standard deviation of 3.8, less what a percentile interval is short of.
    assert 0.90 <= covered / 300 <= 0.98


def test_bootstrap_has_the_width_that_hanley_and_mcneil_foresee() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], [2000, 100])
    scores = rng.exponential(size=2100) * np.where(labels == 1, 9.0, 1.0)  # AUC 9 / (9 + 1)
    interval = bootstrap_auroc(labels, scores, np.arange(2100))
    auc = auroc(scores[labels == 0], scores[labels == 1])
    expected = 2 * 1.96 * hanley_mcneil_se(auc, n_normal=2000, n_anomaly=100)
    assert interval.high - interval.low == pytest.approx(expected, rel=0.3)


def test_bootstrap_of_several_runs_takes_their_mean_on_the_same_resamples() -> None:
    labels, scores, groups = clustered(10, n_groups=12, size=4, spread=0.5)
    # A run and its mirror image have AUCs that sum to one on any resample, if it is the same one.
    interval = bootstrap_auroc(labels, np.stack([scores, -scores]), groups, n_resamples=50)
    assert interval == pytest.approx((0.5, 0.5), abs=1e-12)


def test_bootstrap_repeats_for_a_seed_and_not_for_another() -> None:
    labels, scores, groups = clustered(5, n_groups=12, size=4, spread=0.5)
    first, again, other = (bootstrap_auroc(labels, scores, groups, seed=s) for s in (1, 1, 2))
    assert first == again != other


def test_bootstrap_does_not_depend_on_the_size_of_its_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels, scores, groups = clustered(6, n_groups=14, size=3, spread=0.5)
    whole = bootstrap_auroc(labels, scores, groups, n_resamples=101)
    monkeypatch.setattr(metrics, "_CHUNK_CELLS", 7 * labels.size)
    assert bootstrap_auroc(labels, scores, groups, n_resamples=101) == whole


def test_bootstrap_takes_group_names_and_any_order_of_rows() -> None:
    labels, scores, groups = clustered(7, n_groups=10, size=3, spread=0.5)
    names = np.array([f"slide_{group:02d}" for group in groups], dtype=object)
    order = np.random.default_rng(0).permutation(labels.size)
    expected = bootstrap_auroc(labels, scores, groups, n_resamples=100)
    shuffled = bootstrap_auroc(labels[order], scores[order], names[order], n_resamples=100)
    assert shuffled == pytest.approx(expected, abs=1e-12)


def test_bootstrap_resamples_the_images_of_a_class_that_is_one_group() -> None:
    labels, scores, _ = clustered(8, n_groups=40, size=1, spread=0.0)
    groups = np.where(labels == 1, -1, np.arange(40))
    one_group = bootstrap_auroc(labels, scores, groups)
    assert one_group == bootstrap_auroc(labels, scores, np.arange(40))


@pytest.mark.parametrize(
    ("normals", "anomalies"),
    [([0.1], [0.9]), ([0.1, 0.5, 0.9], [0.7]), ([0.6], [0.5, 0.7]), (range(60), range(60, 100))],
)
def test_bootstrap_gives_no_interval_where_it_cannot_tell_one(
    normals: Sequence[float], anomalies: Sequence[float]
) -> None:
    """One image shows no spread of its class; classes that are wholly apart show none at all."""
    labels = np.repeat([0, 1], [len(normals), len(anomalies)])
    scores = np.concatenate([normals, anomalies])
    assert bootstrap_auroc(labels, scores, np.arange(len(scores))) is None
    runs = np.stack([scores, scores + 1])
    assert bootstrap_auroc(labels, runs, np.arange(len(scores))) is None


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_bootstrap_refuses_a_missing_class(labels: list[int]) -> None:
    with pytest.raises(DataError, match="scores: there are none"):
        bootstrap_auroc(labels, np.arange(len(labels)), np.arange(len(labels)))


def test_bootstrap_refuses_input_that_does_not_fit() -> None:
    with pytest.raises(DataError, match="not finite"):
        bootstrap_auroc([0, 1], [0.0, np.nan], [0, 1])
    with pytest.raises(ValueError, match="lengths differ"):
        bootstrap_auroc([0, 1], [0.0, 1.0], [0])
    with pytest.raises(ValueError, match="labels must be"):
        bootstrap_auroc([0, 2], [0.0, 1.0], [0, 1])
    with pytest.raises(ValueError, match="level"):
        bootstrap_auroc([0, 1], [0.0, 1.0], [0, 1], level=95)
    with pytest.raises(ValueError, match="n_resamples"):
        bootstrap_auroc([0, 1], [0.0, 1.0], [0, 1], n_resamples=0)


def test_hanley_mcneil_gives_the_published_example() -> None:
    # Hanley & McNeil 1982: 51 abnormal and 58 normal readings, area 0.893, standard error 0.032.
    assert hanley_mcneil_se(0.893, n_normal=58, n_anomaly=51) == pytest.approx(0.032, abs=0.001)


def test_hanley_mcneil_agrees_with_its_equations_written_out() -> None:
    auc, n_normal, n_anomaly = 0.8, 30, 7
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_anomaly - 1) * (q1 - auc**2) + (n_normal - 1) * (q2 - auc**2)
    expected = (variance / (n_anomaly * n_normal)) ** 0.5
    assert hanley_mcneil_se(auc, n_normal=n_normal, n_anomaly=n_anomaly) == pytest.approx(expected)


def test_hanley_mcneil_of_twenty_anomalies_and_many_normals() -> None:
    assert hanley_mcneil_se(0.9, n_normal=10**6, n_anomaly=20) == pytest.approx(0.046, abs=0.0005)


def test_hanley_mcneil_has_no_error_at_the_ends_and_never_fails_near_them() -> None:
    assert [hanley_mcneil_se(auc, n_normal=5, n_anomaly=5) for auc in (0.0, 1.0)] == [0.0, 0.0]
    assert hanley_mcneil_se(np.nextafter(1.0, 0.0), n_normal=10**6, n_anomaly=10**6) >= 0.0


@pytest.mark.parametrize(("auc", "n"), [(1.1, 5), (-0.1, 5), (float("nan"), 5), (0.5, 0)])
def test_hanley_mcneil_refuses_what_is_no_auc_or_no_image(auc: float, n: int) -> None:
    with pytest.raises(ValueError, match="must be within"):
        hanley_mcneil_se(auc, n_normal=5, n_anomaly=n)
