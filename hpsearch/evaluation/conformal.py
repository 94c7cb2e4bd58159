"""A threshold for a chosen false-positive rate, from the scores of held-out normals alone.

Split conformal prediction: as long as a new normal image and the calibration images come from one
distribution and were scored by a model that was trained on none of them, the rate holds for any
detector and any number of images. Images of one slide or patient are not independent: the bound is
then too low. Sources: Vovk, Gammerman & Shafer 2005; Angelopoulos & Bates 2023 (arXiv 2107.07511),
section 3.2; for outliers Bates et al. 2023, Annals of Statistics 51:149-178.
"""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, betabinom

from hpsearch.errors import DataError, SpecError

_BOUND_LEVEL = 0.95


@dataclass(frozen=True)
class ConformalThreshold:
    """Images that score above `threshold` are called anomalous.

    Attributes:
        rate: false-positive rate that was asked for, the most that it is on average over
            calibration sets.
        threshold: a calibration score.
        bound: the false-positive rate that this very threshold stays below with probability 0.95.
        n: how many calibration scores there were.
    """

    rate: float
    threshold: float
    bound: float
    n: int

    def chances(self, n_flagged: int, n_normal: int) -> tuple[float, float]:
        """Chances that so few, and so many, of new normals are flagged: at most, at least.

        Of normals like the calibration's the number that are flagged is beta-binomial (Vovk 2012,
        arXiv 1209.2673), whatever the detector.
        """
        above = _n_above(self.n, self.rate)
        number = betabinom(n_normal, above, self.n + 1 - above)
        return float(number.cdf(n_flagged)), float(number.sf(n_flagged - 1))


def conformal_threshold(calibration: ArrayLike, *, rate: float) -> ConformalThreshold:
    """The threshold from scores `(n,)` of held-out normals: their order statistic of rank
    ceil((n + 1)(1 - rate)).

    Raises:
        SpecError: the rate is not between 0 and 1.
        DataError: n is too small for the rate, or a score is not finite.
    """
    if not 0.0 < rate < 1.0:
        raise SpecError(f"false-positive rate: {rate} must lie between 0 and 1, such as 0.05")
    scores = _checked(calibration)
    n_above = _n_above(scores.size, rate)
    if n_above < 1:
        raise DataError(
            f"false-positive rate: {rate:g} needs {ceil(1 / rate - 1e-9) - 1} held-out normals, "
            f"there are {scores.size}; ask for {1 / (scores.size + 1):.2g} or more, or add normals"
        )
    rank = scores.size + 1 - n_above
    # The rate of a threshold at that rank is Beta distributed (Vovk 2012, arXiv 1209.2673).
    bound = float(beta.ppf(_BOUND_LEVEL, n_above, rank))
    return ConformalThreshold(rate, float(np.sort(scores)[rank - 1]), bound, scores.size)


def conformal_p_values(scores: ArrayLike, calibration: ArrayLike) -> NDArray[np.float64]:
    """p-values `(N,)` of `scores` `(N,)` against those of held-out normals `(n,)`.

    (1 + how many of the n are as high or higher) / (n + 1): of normal images at most a share p has
    a p-value of p or less. Above a threshold of `conformal_threshold` they are at most its rate.

    Raises:
        DataError: there is no calibration score, or one is not finite.
    """
    ordered = np.sort(_checked(calibration))
    below = np.searchsorted(ordered, np.asarray(scores, dtype=np.float64), side="left")
    p_values: NDArray[np.float64] = (ordered.size + 1 - below) / (ordered.size + 1)
    return p_values


def _n_above(n: int, rate: float) -> int:
    """How many of `n` scores and a new one lie above the threshold, the new one counted so."""
    # The small term undoes rounding where (n + 1) x rate is a whole number.
    return floor((n + 1) * rate + 1e-9)


def _checked(calibration: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(calibration, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"calibration scores must have shape (n,), not {scores.shape}")
    if scores.size == 0:
        raise DataError("calibration: there are no held-out normals; add some")
    n_bad = int(np.count_nonzero(~np.isfinite(scores)))
    if n_bad:
        raise DataError(
            f"calibration: {n_bad} of {scores.size} scores are not finite; score those images again"
        )
    return scores
