"""The configurations that the labelled anomalies cannot tell from the best.

Each configuration is tested on its own for being the best: its largest shortfall behind any other,
in standard errors, against what the largest of that many correlated comparisons reaches by chance.
The true best fails its own test with probability 1 - level whatever the others are, so the set
covers it at the level. Testing against the observed best instead, pair by pair, covers less: that
one is the luckiest of many. Sources: Hsu 1981, Annals of Statistics 9:1026-1034, and Edwards & Hsu
1983, JASA 78:965-971 (multiple comparisons with the best).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpsearch.evaluation.delong import AurocEstimates
from hpsearch.evaluation.fold_scores import FloatArray

N_DRAWS = 5000
"""Of the Monte Carlo: a p-value of 0.05 is then off by 0.003."""


class TieSet(NamedTuple):
    """Which configurations may be the best.

    Attributes:
        tied: `(C,)`, the set.
        p_values: `(C,)`, of the hypothesis that a configuration is the best, adjusted for all its
            comparisons; 1 for the observed best.
    """

    tied: NDArray[np.bool_]
    p_values: FloatArray


def tie_set(estimates: AurocEstimates, *, level: float = 0.95, seed: int = 0) -> TieSet:
    """The set that holds the true best with probability `level`; never empty.

    The joint distribution is Student's t with DeLong's covariance, drawn `N_DRAWS` times, with one
    more anomaly that counts one half (`AurocEstimates.with_a_draw`). A single anomaly ties all.
    """
    drawn = estimates.with_a_draw()
    draws = _draws(drawn, np.random.default_rng(seed))
    variances = np.diag(drawn.covariance)
    p_values = np.ones(len(variances))
    for configuration, value in enumerate(drawn.values):
        spread = variances + variances[configuration] - 2.0 * drawn.covariance[configuration]
        # Rounding leaves a trace of variance between configurations that score alike.
        differs = spread > 1e-12 * variances.max()
        if not differs.any():
            continue
        error = np.sqrt(spread[differs])
        shortfall = ((drawn.values[differs] - value) / error).max()
        by_chance = ((draws[:, differs] - draws[:, [configuration]]) / error).max(axis=1)
        p_values[configuration] = (1 + np.sum(by_chance >= shortfall)) / (1 + len(draws))
    p_values[estimates.values.argmax()] = 1.0
    return TieSet(p_values > 1.0 - level, p_values)


def _draws(estimates: AurocEstimates, rng: np.random.Generator) -> FloatArray:
    """Chance departures `(N_DRAWS, C)` of all values, Student's t with their covariance."""
    n = len(estimates.values)
    size, axes = np.linalg.eigh(estimates.covariance)
    root = axes * np.sqrt(np.maximum(size, 0.0))
    freedom = estimates.degrees_of_freedom(np.eye(n) - 1.0 / n)
    scale = np.sqrt(rng.chisquare(freedom, size=(N_DRAWS, 1)) / freedom)
    departures: FloatArray = rng.normal(size=(N_DRAWS, n)) @ root.T / scale
    return departures
