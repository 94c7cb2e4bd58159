import numpy as np
import pandas as pd
import pytest
from scipy.stats import median_abs_deviation

from hpsearch.evaluation.averaging import (
    N_BEST,
    Part,
    averaged_run,
    averaged_scores,
    part_of,
    weights_of,
)
from hpsearch.evaluation.threshold import conformal_threshold
from hpsearch.storage.results import FoldResult


def test_a_score_is_in_robust_deviations_from_the_median_of_held_out_normals() -> None:
    held_out = np.random.default_rng(0).gamma(2.0, size=101)
    part = part_of(held_out, weight=0.25)
    assert part.location == np.median(held_out)
    assert part.scale == pytest.approx(median_abs_deviation(held_out, scale="normal"), rel=1e-4)
    at = np.array([part.location, part.location + 2 * part.scale])
    np.testing.assert_allclose(part.of(at), [0.0, 0.5], atol=1e-12)


@pytest.mark.parametrize(
    ("held_out", "scale"),
    [([1.0, 1.0, 1.0, 5.0], np.std([1.0, 1.0, 1.0, 5.0])), ([2.0, 2.0], 1.0)],
)
def test_scores_without_a_median_deviation_have_a_scale(
    held_out: list[float], scale: float
) -> None:
    assert part_of(held_out, weight=1.0).scale == scale


def test_the_best_share_a_half_and_the_head_has_the_other() -> None:
    values = {number: 0.5 + number / 100 for number in range(8)}
    alone = weights_of(values)
    assert list(alone) == [7, 6, 5, 4, 3]
    assert set(alone.values()) == {1 / N_BEST}
    joined = weights_of(values, head=9)
    assert list(joined) == [7, 6, 5, 4, 3, 9]
    assert joined[9] == 0.5
    assert sum(joined.values()) == pytest.approx(1.0)
    assert weights_of({2: 0.7, 1: 0.7}, head=9) == {1: 0.25, 2: 0.25, 9: 0.5}, "the first of equals"
    assert weights_of({}, head=9) == weights_of(values, head=9, head_holds=True) == {9: 1.0}
    assert weights_of({}) == {}


def test_the_threshold_of_an_average_keeps_its_rate_and_bound_in_simulated_draws() -> None:
    """Members that correlate, of scales of their own, which are put in units by the same normals.

    Of 1,000 draws of 100 held-out normals: at most a share of 0.1 of new ones is flagged on
    average, and more than the bound in at most 5 % of them, but for chance.
    """
    rng, n, rate = np.random.default_rng(0), 100, 0.1
    scales, weights = np.array([0.1, 1.0, 30.0]), (0.25, 0.25, 0.5)

    def drawn(size: int) -> np.ndarray:
        common = rng.normal(size=size)
        return np.exp(0.5 * rng.normal(size=(3, size)) + 0.5 * common) * scales[:, None]

    new, rates, above_bound = drawn(20_000), [], []
    for _ in range(1000):
        held_out = drawn(n)
        parts = [
            part_of(scores, weight=weight) for scores, weight in zip(held_out, weights, strict=True)
        ]
        found = conformal_threshold(averaged_scores(list(held_out), parts), rate=rate)
        flagged = float((averaged_scores(list(new), parts) > found.threshold).mean())
        rates.append(flagged)
        above_bound.append(flagged > found.bound)
    assert np.mean(rates) <= rate + 3 * np.std(rates) / np.sqrt(1000)
    assert np.mean(above_bound) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def _run(digest: str, scores: dict[str, float]) -> FoldResult:
    frame = pd.DataFrame({"image_id": list(scores), "role": "test", "score": scores.values()})
    return FoldResult(digest, frame, 3, None, pd.DataFrame(), 2.0, len(scores), "cpu")


def test_the_average_is_of_images_that_all_have_scored() -> None:
    runs = [_run("a", {"x": 1.0, "y": 3.0, "z": 5.0}), _run("b", {"z": 10.0, "x": 30.0})]
    parts = [Part(0.75, 1.0, 2.0), Part(0.25, 10.0, 10.0)]
    average = averaged_run(runs, parts)
    found = dict(zip(average.scores["image_id"], average.scores["score"], strict=True))
    assert found == {"x": 0.75 * 0.0 + 0.25 * 2.0, "z": 0.75 * 2.0 + 0.25 * 0.0}
    assert (average.digest, average.seconds, average.peak_memory_mb) == ("a+b", 4.0, 3)


def test_members_and_parts_are_as_many() -> None:
    with pytest.raises(ValueError, match="zip"):
        averaged_scores([np.zeros(2)], [])
