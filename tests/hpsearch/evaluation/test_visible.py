import numpy as np
import pytest
from scipy import stats

from hpsearch.evaluation.auroc import hanley_mcneil_se, visible_difference


def test_twenty_anomalies():
    seen = visible_difference(20)
    assert seen.value == pytest.approx(0.09, abs=0.005)
    assert seen.sentence == (
        "20 anomalies: differences under 0.09 cannot be seen (two configurations of ROC AUC 0.9 "
        "whose values correlate by 0.5)"
    )
    assert visible_difference(1).sentence.startswith("1 anomaly: ")


def test_it_is_the_formula_written_out():
    error = hanley_mcneil_se(0.8, n_normal=50, n_anomaly=30)
    expected = stats.norm.ppf(0.95) * np.sqrt(error**2 + error**2 - 2 * 0.3 * error**2)
    found = visible_difference(30, n_normal=50, auroc=0.8, correlation=0.3, level=0.9)
    assert found.value == pytest.approx(expected)


def test_more_anomalies_show_more():
    values = [visible_difference(n).value for n in (1, 5, 20, 100, 1000)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("parts", [{"correlation": 1.0}, {"level": 95}, {"auroc": 2.0}])
def test_what_is_out_of_range_is_refused(parts):
    with pytest.raises(ValueError, match="must be"):
        visible_difference(20, **parts)
