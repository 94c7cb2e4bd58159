"""What difference between two configurations a number of anomalies can show, before any is scored.

Hanley & McNeil's standard error of one AUC (1982), and of the difference of two AUCs on the same
images, whose correlation r makes it smaller: SE sqrt(2 (1 - r)) (Hanley & McNeil 1983, Radiology
148:839-843). Nothing is known of either yet, so both are assumed: an AUC of 0.9, and r = 0.5, with
which the difference has the error of one AUC. The tie set measures both once scores are there.
"""

from math import sqrt
from typing import NamedTuple

from scipy.stats import norm

from hpsearch.metrics import hanley_mcneil_se

ASSUMED_AUROC = 0.9
ASSUMED_CORRELATION = 0.5
_MANY_NORMALS = 10**6


class VisibleDifference(NamedTuple):
    """The smallest difference of two AUCs that can be seen, and the sentence that says so."""

    value: float
    sentence: str


def visible_difference(
    n_anomaly: int,
    *,
    n_normal: int = _MANY_NORMALS,
    auroc: float = ASSUMED_AUROC,
    correlation: float = ASSUMED_CORRELATION,
    level: float = 0.95,
) -> VisibleDifference:
    """The smallest observed difference whose two-sided interval at `level` leaves zero out.

    Of two configurations that were named beforehand. A true difference of that size is seen in half
    of all draws of the anomalies, and among many configurations the best needs more.

    Raises:
        ValueError: a number is out of its range.
    """
    if not -1.0 <= correlation < 1.0 or not 0.0 < level < 1.0:
        raise ValueError(
            f"correlation {correlation} must be in [-1, 1) and level {level} in (0, 1)"
        )
    error = hanley_mcneil_se(auroc, n_normal=n_normal, n_anomaly=n_anomaly)
    value = float(norm.isf((1.0 - level) / 2.0)) * error * sqrt(2.0 * (1.0 - correlation))
    anomalies = "1 anomaly" if n_anomaly == 1 else f"{n_anomaly} anomalies"
    sentence = (
        f"{anomalies}: differences under {value:.2g} cannot be seen (two configurations of ROC AUC "
        f"{auroc:g} whose values correlate by {correlation:g})"
    )
    return VisibleDifference(value, sentence)
