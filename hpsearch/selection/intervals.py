"""How far a cross-validated AUC, and the difference of two, may be off.

Both take one more anomaly that counts one half (`AurocEstimates.with_a_draw`), and Student's t for
the few there are. In 1,000 simulated draws of 20 anomalies the 95 % interval covered AUCs of 0.7,
0.8 and 0.9 in 95 to 97 %, where DeLong's plain one covered 0.9 in 89 %; 0.95 in 92 % (plain 85 %)
and 0.97 in 91 % (plain 83 %): so near 1 the few hard anomalies are often not among the 20.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

from hpsearch.metrics import Interval
from hpsearch.selection.delong import AurocEstimates


class Difference(NamedTuple):
    """One configuration's AUC less another's, on the same images."""

    value: float
    interval: Interval
    p_value: float
    """Two-sided, of the hypothesis that there is none."""


def auroc_interval(
    estimates: AurocEstimates, configuration: int, *, level: float = 0.95
) -> Interval:
    """Interval of one value, on the scale of the log odds; it holds the value itself."""
    drawn = estimates.with_a_draw()
    value = drawn.values[configuration]
    weights = np.eye(len(drawn.values))[configuration]
    error = np.sqrt(drawn.covariance[configuration, configuration]) / (value * (1.0 - value))
    reach = student.isf((1.0 - level) / 2.0, drawn.degrees_of_freedom(weights)) * error
    low, high = expit(logit(value) + np.array([-reach, reach]))
    # A value of 1 from few anomalies lies above what the draw, as one more of them, leaves of it.
    seen = float(estimates.values[configuration])
    return Interval(min(float(low), seen), max(float(high), seen))


def auroc_difference(
    estimates: AurocEstimates, first: int, second: int, *, level: float = 0.95
) -> Difference:
    """The first configuration's value less the second's, with its interval and a paired test."""
    drawn = estimates.with_a_draw()
    weights = np.eye(len(drawn.values))[first] - np.eye(len(drawn.values))[second]
    centre = float(weights @ drawn.values)
    error = float(np.sqrt(max(0.0, weights @ drawn.covariance @ weights)))
    value = float(estimates.values[first] - estimates.values[second])
    freedom = drawn.degrees_of_freedom(weights)
    reach = float(student.isf((1.0 - level) / 2.0, freedom)) * error
    # The draw keeps the error above zero wherever there is a difference.
    p_value = 1.0 if centre == 0.0 else float(2.0 * student.sf(abs(centre) / error, freedom))
    interval = Interval(max(-1.0, centre - reach), min(1.0, centre + reach))
    return Difference(value, interval, p_value)
