import numpy as np
import pytest

from hpsearch.evaluation.threshold import Flagging, conformal_threshold

THRESHOLD = conformal_threshold(np.arange(199.0), rate=0.05)


def test_it_warns_as_often_as_chance_has_it_and_on_both_sides() -> None:
    """Calibration and test normals of one distribution: at most 2.5 % a side, and not far below."""
    rng = np.random.default_rng(0)
    n_normal, n_repeats = 200, 20_000
    warnings = [Flagging(THRESHOLD, n / n_normal, 0.9).warning(n_normal) for n in range(201)]
    thresholds = np.sort(rng.random((n_repeats, THRESHOLD.n)), axis=1)[:, int(THRESHOLD.threshold)]
    n_flagged = rng.binomial(n_normal, 1 - thresholds)
    for words in ("too high", "differ from"):
        told = [n for n, warning in enumerate(warnings) if words in (warning or "")]
        assert 0.01 < np.isin(n_flagged, told).mean() < 0.026


@pytest.mark.parametrize(
    ("n_flagged", "words"),
    [(0, "it is too high for these"), (10, None), (15, None), (30, "these differ from"), (200, "")],
)
def test_the_sentence_is_true_of_its_side(n_flagged: int, words: str | None) -> None:
    warning = Flagging(THRESHOLD, n_flagged / 200, 0.9).warning(200)
    assert (warning is None) == (words is None)
    if warning is not None and words is not None:
        assert f"flags {n_flagged / 2:.1f} % of the test normals: {words}" in warning
        assert "\n" not in warning


def test_none_of_60_at_a_rate_of_10_percent_is_told() -> None:
    """Case of uneven groups: 112 held-out normals, of which most were scored by a poor model."""
    threshold = conformal_threshold(np.arange(112.0), rate=0.1)
    warning = Flagging(threshold, 0.0, 0.5).warning(60)
    assert warning is not None
    assert "flags 0.0 % of the test normals: it is too high" in warning
    assert Flagging(threshold, 0.1, 0.5).warning(60) is None


def test_few_test_normals_prove_nothing() -> None:
    assert Flagging(THRESHOLD, 1 / 3, 0.9).warning(3) is None
    assert Flagging(THRESHOLD, 0.0, 0.9).warning(3) is None
    assert Flagging(THRESHOLD, 1 / 3, 0.9).warning(300) is not None
