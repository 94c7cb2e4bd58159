import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.errors import DataError, SpecError
from hpsearch.evaluation.threshold import (
    ConformalThreshold,
    conformal_p_values,
    conformal_threshold,
)


def test_by_hand():
    # Of 19 scores and a rate of 0.1: rank ceil(20 x 0.9) = 18.
    assert conformal_threshold(np.arange(1, 20), rate=0.1).threshold == 18.0
    assert conformal_p_values([18.5, 18, 0, 99], np.arange(1, 20)).tolist() == [0.1, 0.15, 1, 0.05]


@pytest.mark.parametrize(("n", "rate"), [(99, 0.05), (37, 0.1), (300, 0.01), (19, 0.05)])
def test_the_false_positive_rate_stays_at_or_below_its_target(n, rate):
    rng = np.random.default_rng(n)
    realised = []
    for _ in range(2000):
        found = conformal_threshold(rng.random(n), rate=rate)
        realised.append(1.0 - found.threshold)  # of uniform scores, without sampling any
    mean, error = np.mean(realised), np.std(realised) / 2000**0.5
    # Exactly floor((n + 1) rate) / (n + 1).
    assert mean == pytest.approx(np.floor((n + 1) * rate + 1e-9) / (n + 1), abs=4 * error)
    assert mean <= rate + 4 * error
    # The bound holds for 95 % of the calibration sets, and no fewer.
    assert np.mean(np.array(realised) <= found.bound) == pytest.approx(0.95, abs=0.02)


def test_ties_only_lower_the_rate():
    rng = np.random.default_rng(1)
    realised = [
        np.mean(
            rng.integers(5, size=500)
            > conformal_threshold(rng.integers(5, size=50), rate=0.1).threshold
        )
        for _ in range(300)
    ]
    assert np.mean(realised) <= 0.1


@given(
    calibration=st.lists(st.integers(0, 9), min_size=10, max_size=60),
    scores=st.lists(st.integers(-1, 10), min_size=1, max_size=20),
    rate=st.sampled_from([0.1, 0.2, 0.29, 0.5]),
)
def test_an_image_above_the_threshold_has_a_p_value_at_or_below_the_rate(calibration, scores, rate):
    threshold = conformal_threshold(calibration, rate=rate).threshold
    above = np.asarray(scores) > threshold
    assert (conformal_p_values(scores, calibration)[above] <= rate + 1e-12).all()


def test_p_values_of_normals_are_uniform():
    rng = np.random.default_rng(2)
    p_values = np.concatenate(
        [conformal_p_values(rng.normal(size=5), rng.normal(size=40)) for _ in range(3000)]
    )
    for share in (0.05, 0.2, 0.5):
        assert np.mean(p_values <= share) <= share + 0.01


def test_too_few_normals_for_the_rate_are_refused_in_one_line():
    with pytest.raises(DataError) as caught:
        conformal_threshold(np.arange(18.0), rate=0.05)
    assert str(caught.value) == (
        "false-positive rate: 0.05 needs 19 held-out normals, there are 18; "
        "ask for 0.053 or more, or add normals"
    )
    assert conformal_threshold(np.arange(19.0), rate=0.05).threshold == 18.0


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(SpecError, match="between 0 and 1"):
        conformal_threshold([0.0, 1.0], rate=rate)


def test_calibration_scores_without_an_order_are_refused():
    with pytest.raises(DataError, match="no held-out normals"):
        conformal_p_values([1.0], [])
    with pytest.raises(DataError, match="1 of 2 scores are not finite"):
        conformal_threshold([np.nan, 1.0], rate=0.5)
    with pytest.raises(ValueError, match="shape"):
        conformal_threshold([[1.0]], rate=0.5)


def test_it_goes_through_json():
    found = conformal_threshold(np.arange(100, dtype=np.float32), rate=0.05)
    assert ConformalThreshold(**json.loads(json.dumps(asdict(found)))) == found
