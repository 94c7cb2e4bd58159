import numpy as np
import pytest
from scipy.stats import binomtest

from hpsearch.flagging import Flagging
from hpsearch.selection.conformal import conformal_threshold

THRESHOLD = conformal_threshold(np.arange(199.0), rate=0.05)


@pytest.mark.parametrize("n_flagged", [0, 10, 15, 30, 200])
def test_it_warns_where_chance_does_not_explain_what_is_flagged(n_flagged: int) -> None:
    n_normal = 200
    warning = Flagging(THRESHOLD, n_flagged / n_normal, 0.9).warning(n_normal)
    chance = binomtest(n_flagged, n_normal, THRESHOLD.bound, alternative="greater").pvalue
    assert (warning is not None) == (chance < 0.05)
    if warning:
        assert f"flags {100 * n_flagged / n_normal:.1f} % of the test normals" in warning


def test_few_test_normals_prove_nothing() -> None:
    assert Flagging(THRESHOLD, 1 / 3, 0.9).warning(3) is None
    assert Flagging(THRESHOLD, 1 / 3, 0.9).warning(300) is not None
