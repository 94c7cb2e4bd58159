import numpy as np
import pytest
from sklearn.metrics import roc_curve

from hpsearch.evaluation.auroc import Estimate, auroc, bootstrap_auroc
from hpsearch.reports.score_figures import (
    FALSE_POSITIVES,
    NamedCurve,
    RocCurve,
    roc_block,
    roc_with_band,
)


def _with_band(normals: np.ndarray, anomalies: np.ndarray, **more: object) -> RocCurve:
    groups = more.pop("groups", None)
    of = [np.arange(len(part)) if groups is None else groups(part) for part in (normals, anomalies)]
    return roc_with_band(
        normals[None], anomalies[None], normal_groups=of[0], anomaly_groups=of[1], **more
    )


@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_scikit_learns(seed: int, decimals: int) -> None:
    """With many ties and with none."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=80).round(decimals)
    anomalies = rng.normal(1, 1, 30).round(decimals)
    labels = np.repeat([0, 1], [80, 30])
    x, y, _ = roc_curve(labels, np.concatenate([normals, anomalies]), drop_intermediate=False)
    curve = _with_band(normals, anomalies, n_resamples=2)
    np.testing.assert_allclose(curve.true_positives, np.interp(FALSE_POSITIVES, x, y), atol=1e-12)
    area = np.trapezoid(curve.true_positives, FALSE_POSITIVES)
    assert area == pytest.approx(auroc(normals, anomalies), abs=0.01)


def test_the_band_is_as_wide_as_the_interval_of_the_area() -> None:
    """Its mean width bounds the interval of the area; groups widen both."""
    rng = np.random.default_rng(0)
    shift = np.repeat(rng.normal(size=12), 10)
    normals, anomalies = rng.normal(size=120) + shift, rng.normal(1, 1, 120) + shift
    groups = np.repeat(np.arange(12), 10)
    plain = _with_band(normals, anomalies)
    grouped = _with_band(normals, anomalies, groups=lambda _: groups)
    labels, scores = np.repeat([0, 1], 120), np.concatenate([normals, anomalies])
    for band, units in ((plain, np.arange(240)), (grouped, np.concatenate([groups, groups + 12]))):
        assert (band.low <= band.true_positives).all()
        assert (band.high >= band.true_positives).all()
        interval = bootstrap_auroc(labels, scores, units)
        width = np.trapezoid(band.high - band.low, FALSE_POSITIVES)
        assert width > interval.high - interval.low
    assert np.mean(grouped.high - grouped.low) > 1.3 * np.mean(plain.high - plain.low)


def test_the_same_resamples_whatever_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=20), rng.normal(1, 1, 9)
    whole = _with_band(*scores, n_resamples=50, seed=3)
    monkeypatch.setattr("hpsearch.reports.score_figures._CHUNK_CELLS", 100)
    for one, other in zip(whole, _with_band(*scores, n_resamples=50, seed=3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_several_trainings_are_averaged() -> None:
    rng = np.random.default_rng(2)
    normals, anomalies = rng.normal(size=(2, 30)), rng.normal(1, 1, (2, 10))
    alone = [_with_band(*pair).true_positives for pair in zip(normals, anomalies, strict=True)]
    both = roc_with_band(
        normals, anomalies, normal_groups=np.arange(30), anomaly_groups=np.arange(10)
    )
    np.testing.assert_allclose(both.true_positives, np.mean(alone, axis=0))


def test_the_table_says_what_is_found_at_a_rate() -> None:
    curve = _with_band(np.linspace(0, 1, 101), np.array([0.5, 0.97, 2.0, 3.0]))
    block = roc_block((NamedCurve("all", curve, Estimate(0.9, 0.8, 1.0, 101, 4)),))
    found = {row[0]: row[1] for row in block.numbers.rows}
    assert found["1%"].startswith("0.50 (")
    assert found["5%"].startswith("0.75 (")
    assert "0.900 (0.800 – 1.000)" in block.alt
