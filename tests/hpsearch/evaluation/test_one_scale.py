import numpy as np
import pytest

from hpsearch.evaluation.threshold import conformal_p_values, conformal_threshold, on_one_scale

RATE = 0.1
SCALES = (1.0, 8.0, 0.3)  # of the models of the folds
FINAL = 2.5


def simulated(rng: np.random.Generator, sizes: tuple[int, ...], n_anomaly: int) -> tuple:
    """Log-normal scores; a model adds its own noise to an image and has its own scale."""

    def scored(abnormality: np.ndarray, scale: float) -> np.ndarray:
        return scale * np.exp(0.5 * abnormality + 0.1 * rng.normal(size=abnormality.size))

    anomalies = rng.normal(2.0, 1.0, n_anomaly)
    held_out = [scored(rng.normal(size=n), scale) for n, scale in zip(sizes, SCALES, strict=True)]
    anchors = [scored(anomalies, scale) for scale in SCALES]
    return held_out, anchors, scored(anomalies, FINAL), scored(rng.normal(size=2000), FINAL)


@pytest.mark.parametrize("sizes", [(40, 40, 40), (100, 6, 6), (6, 100, 6)])
def test_the_rate_comes_near_the_one_asked_for_whatever_the_scales(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    scaled_rates, pooled_rates = [], []
    for _ in range(60):
        held_out, anchors, target, new = simulated(rng, sizes, n_anomaly=20)
        scaled = on_one_scale(held_out, anchors, target)
        threshold = conformal_threshold(scaled, rate=RATE).threshold
        scaled_rates.append((new > threshold).mean())
        naive = conformal_threshold(np.concatenate(held_out), rate=RATE).threshold
        pooled_rates.append((new > naive).mean())
        p_values = conformal_p_values(new, scaled)
        assert (p_values <= RATE).mean() == pytest.approx(scaled_rates[-1], abs=0.02)
    assert np.mean(scaled_rates) == pytest.approx(RATE, abs=0.02)
    assert abs(np.mean(pooled_rates) - RATE) > 0.06, "pooled as they are, the rate is another"


@pytest.mark.parametrize("n_anomaly", [1, 2, 7, 1200])
def test_a_factor_is_undone_exactly(n_anomaly: int) -> None:
    rng = np.random.default_rng(1)
    normals, anomalies = rng.lognormal(size=(3, 9)), rng.lognormal(size=n_anomaly)
    scaled = on_one_scale(
        [scale * row for scale, row in zip(SCALES, normals, strict=True)],
        [scale * anomalies for scale in SCALES],
        FINAL * anomalies,
    )
    assert scaled == pytest.approx(FINAL * normals.ravel())


def test_a_power_is_undone_where_scores_are_positive_and_a_line_where_not() -> None:
    """A model of few normals blows high scores up more than low ones."""
    rng = np.random.default_rng(2)
    normals, anomalies = rng.lognormal(size=9), rng.lognormal(size=20)
    assert on_one_scale([5 * normals**3], [5 * anomalies**3], anomalies) == pytest.approx(normals)
    scores, anchors = np.array([-3.0, -1.0]), np.array([-1.0, 0.0, 5.0])
    assert on_one_scale([scores], [anchors], 2 * anchors + 2) == pytest.approx([-4.0, 0.0])


def test_anchors_that_show_no_slope_still_tell_the_factor() -> None:
    scores, same = np.array([1.0, 2.0]), np.array([3.0, 3.0, 3.0])
    assert on_one_scale([scores], [same], 2 * same) == pytest.approx([2.0, 4.0])
    falling = np.array([4.0, 3.0, 2.0])
    assert on_one_scale([scores], [falling[::-1]], falling) == pytest.approx(scores)


def test_normals_stay_below_anomalies_that_a_fold_tells_apart() -> None:
    """Anchors far above the normals, whose scores the final model spreads in another order."""
    rng = np.random.default_rng(3)
    normals = rng.uniform(17, 87, 30)
    own, target = rng.uniform(1800, 2200, 20), rng.uniform(2e4, 2.5e6, 20)
    scaled = on_one_scale([normals], [own], target)
    assert scaled.max() <= target.min()
    assert np.ptp(np.log(scaled)) > 0.5 * np.ptp(np.log(normals)), "p-values still tell normals"
    above = on_one_scale([np.array([100.0, 5000.0])], [own], target)
    assert above[0] <= target.min()
    assert above[1] >= target.max()


def test_one_model_keeps_its_scores() -> None:
    scores, anchors = np.array([0.0, 0.1, 0.7]), np.array([0.3, 0.9])
    assert on_one_scale([scores], [anchors], anchors) == pytest.approx(scores)
