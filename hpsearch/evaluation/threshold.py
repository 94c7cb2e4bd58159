"""From which score on an image is flagged, for a chosen false-positive rate.

Split conformal prediction from the scores of held-out normals alone: as long as a new normal image
and the calibration images come from one distribution and were scored by a model that was trained on
none of them, the rate holds for any detector and any number of images. Images of one slide or
patient are not independent: the bound is then too low. Sources: Vovk, Gammerman & Shafer 2005;
Angelopoulos & Bates 2023 (arXiv 2107.07511), section 3.2; for outliers Bates et al. 2023, Annals of
Statistics 51:149-178.

Models of one configuration that were trained on different images score on different scales: one
that saw few normals finds every image more abnormal. What is pooled without regard to that says
which model scored an image, not how abnormal it is. So two models are compared on images that
neither was trained on (as tests are equated by the questions that they share): the labelled
anomalies. Only their scores are used, not that they are anomalies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import beta, betabinom, theilslopes

from hpsearch.errors import DataError, SpecError
from hpsearch.evaluation.auroc import FloatArray
from hpsearch.protocol.folds import Positions
from hpsearch.protocol.labels import EvaluationRoles
from hpsearch.storage.results import FoldResult, scores_at

_BOUND_LEVEL = 0.95
_SIGNIFICANT = 0.05  # both sides together
_MOST = 500  # anchors that a line is drawn through, for it takes the slopes of all pairs


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


def conformal_p_values(scores: ArrayLike, calibration: ArrayLike) -> FloatArray:
    """p-values `(N,)` of `scores` `(N,)` against those of held-out normals `(n,)`.

    (1 + how many of the n are as high or higher) / (n + 1): of normal images at most a share p has
    a p-value of p or less. Above a threshold of `conformal_threshold` they are at most its rate.

    Raises:
        DataError: there is no calibration score, or one is not finite.
    """
    ordered = np.sort(_checked(calibration))
    below = np.searchsorted(ordered, np.asarray(scores, dtype=np.float64), side="left")
    p_values: FloatArray = (ordered.size + 1 - below) / (ordered.size + 1)
    return p_values


@dataclass(frozen=True)
class Flagging:
    """From which score on the final model calls an image anomalous, and how that turned out.

    Attributes:
        threshold: from the fold models' scores of the normals that they were not trained on, on
            the final model's scale (`on_one_scale`). The final model has seen all
            of those, so its rate is checked on the test normals.
        normals: share of the test normals that it flags.
        anomalies: share of the anomalies of the final figure that it flags.
    """

    threshold: ConformalThreshold
    normals: float
    anomalies: float

    def warning(self, n_normal: int) -> str | None:
        """What to tell where the test normals are not like those that the threshold is from.

        Args:
            n_normal: test normals. More of them, or fewer, are flagged than chance explains.
        """
        few, many = self.threshold.chances(round(self.normals * n_normal), n_normal)
        if min(few, many) >= _SIGNIFICANT / 2:
            return None
        rates = (
            f"the threshold was set to flag {100 * self.threshold.rate:g} % of normal images and "
            f"flags {100 * self.normals:.1f} % of the test normals"
        )
        if few < many:
            return (
                f"{rates}: it is too high for these, so anomalies pass below it; set it anew on "
                "normals of your own"
            )
        return (
            f"{rates}: these differ from the normals of the search, so set it anew on normals of "
            "your own; and where the labelled anomalies were taken like the test images, their AUC "
            "may rest on that difference"
        )


def flagged(
    threshold: ConformalThreshold, run: FoldResult, table: pd.DataFrame, roles: EvaluationRoles
) -> Flagging:
    """What a final training flags of the test images."""

    def share(positions: Positions) -> float:
        return float((scores_at(run, table, positions) > threshold.threshold).mean())

    return Flagging(threshold, share(roles.normals), share(roles.headline))


def on_one_scale(
    held_out: Sequence[FloatArray], anchors: Sequence[FloatArray], target: FloatArray
) -> FloatArray:
    """Scores of normals by the fold models that did not train on them, as the final model's.

    Each fold's scores are moved along the Theil-Sen line from its anchor scores to the target's, of
    logarithms where all scores are positive. Its slope is 1 where the anchors show none that rises,
    and where all of a fold's normals score below its anchors: the line would be drawn out beyond
    what it is known from. A normal that scores below (above) every anchor still does so afterwards.

    If the final model's (log) scores are a rising line of a fold model's, what is returned and its
    scores of new normals are exchangeable, so that a threshold or p-values made of them have the
    split-conformal guarantee: at most the rate asked for, on average. In as far as they differ
    otherwise (it has learnt from more normals) and the line is not known exactly (a bound from
    `conformal_threshold` leaves that out) the rate is only near the one asked for. Of 12
    configurations of `features` at 10 %, with 20 anomalies: 10.3 % of the test normals on drawn
    textures, where scores pooled as they are gave 5.0 %; with one group of nearly all normals 6.5 %
    and 3.2 %; on the quickstart's images, whose test slides are new, 7.5 % and 5.5 %.

    Args:
        held_out: per fold, its scores `(n_f,)`.
        anchors: per fold, its scores `(A,)` of the images that no model was trained on, A >= 1.
        target: the final model's scores `(A,)` of the same.

    Returns:
        `(n,)`, fold by fold.
    """
    moved = []
    for scores, own in zip(held_out, anchors, strict=True):
        if min(scores.min(), own.min(), target.min()) > 0:
            moved.append(np.exp(_on_line(np.log(scores), np.log(own), np.log(target))))
        else:
            moved.append(_on_line(scores, own, target))
    return np.concatenate(moved)


def _on_line(scores: FloatArray, own: FloatArray, target: FloatArray) -> FloatArray:
    slope = 1.0
    if np.ptp(own) > 0 and scores.max() >= own.min():
        every = -(-own.size // _MOST)
        fitted = float(theilslopes(target[::every], own[::every]).slope)
        slope = fitted if fitted > 0 else slope
    moved = slope * scores + float(np.median(target - slope * own))
    highest = np.where(scores < own.min(), target.min(), np.inf)
    lowest = np.where(scores > own.max(), target.max(), -np.inf)
    ordered: FloatArray = moved.clip(lowest, highest)
    return ordered


def _n_above(n: int, rate: float) -> int:
    """How many of `n` scores and a new one lie above the threshold, the new one counted so."""
    # The small term undoes rounding where (n + 1) x rate is a whole number.
    return floor((n + 1) * rate + 1e-9)


def _checked(calibration: ArrayLike) -> FloatArray:
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
