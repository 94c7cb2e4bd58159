"""Area under the ROC curve (AUC) of anomaly scores, and how far it may be off.

Label 1 = anomaly and a higher score = more anomalous, so the AUC is the probability that an
anomaly scores above a normal image; an equal pair counts one half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from hpsearch.errors import DataError
from hpsearch.storage.results import FoldResult, scores_at

FloatArray = NDArray[np.float64]

ASSUMED_AUROC = 0.9
ASSUMED_CORRELATION = 0.5
_MANY_NORMALS = 10**6

# Resamples x images held at once: 4 MB an array, whatever the number of resamples.
_CHUNK_CELLS = 500_000


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


def auroc(normal_scores: ArrayLike, anomaly_scores: ArrayLike) -> float:
    """AUC of normal scores (N,) against anomaly scores (A,), in [0, 1].

    Raises:
        DataError: a class is empty, or a score is not finite.
    """
    normals = _checked_scores(normal_scores, "normal")
    anomalies = _checked_scores(anomaly_scores, "anomaly")
    ranks = rankdata(np.concatenate([anomalies, normals]))
    # Mann-Whitney U: the anomalies' ranks less those that they hold among themselves.
    wins = ranks[: anomalies.size].sum() - anomalies.size * (anomalies.size + 1) / 2
    return float(wins / (normals.size * anomalies.size))


def weighted_aurocs(
    normal_scores: ArrayLike,
    anomaly_scores: ArrayLike,
    *,
    normal_weights: ArrayLike,
    anomaly_weights: ArrayLike,
) -> FloatArray:
    """One AUC (R,) for each of R weightings of the same images, in one sorted pass.

    Normal scores are (N,) with weights (R, N), anomaly scores (A,) with weights (R, A). A weight
    of k counts an image k times and 0 leaves it out; in each row both classes need a positive sum.

    Raises:
        DataError: a class is empty, or a score is not finite.
        ValueError: weights do not fit the scores, are negative, or sum to zero in a class.
    """
    normals = _checked_scores(normal_scores, "normal")
    anomalies = _checked_scores(anomaly_scores, "anomaly")
    normal_rows = _checked_weights(normal_weights, normals.size)
    anomaly_rows = _checked_weights(anomaly_weights, anomalies.size)
    if len(normal_rows) != len(anomaly_rows):
        raise ValueError(f"rows of weights differ: {len(normal_rows)} and {len(anomaly_rows)}")
    order = np.argsort(normals)
    weight_before = np.zeros((len(normal_rows), normals.size + 1))
    np.cumsum(normal_rows[:, order], axis=1, out=weight_before[:, 1:])
    # Normals below, and normals below or equal: half their sum counts a tie as one half.
    below = np.searchsorted(normals, anomalies, side="left", sorter=order)
    up_to = np.searchsorted(normals, anomalies, side="right", sorter=order)
    won = weight_before[:, below] + weight_before[:, up_to]
    pairs = weight_before[:, -1] * anomaly_rows.sum(axis=1)
    aurocs: FloatArray = np.einsum("ra,ra->r", won, anomaly_rows) / (2.0 * pairs)
    return aurocs


def bootstrap_auroc(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap interval of the AUC that resamples groups, not images.

    Labels (0 normal, 1 anomaly) and groups are (N,). Scores are (N,), or (K, N) of K trainings: the
    interval is then that of their mean AUC on the same images. Tiles of one slide are not
    independent, so whole groups are drawn with replacement, those of the normals apart from those
    of the anomalies (a group with both is drawn in each on its own). Where each image is its own
    group this is the plain bootstrap. A class of one group shows no spread between groups: its
    images are resampled, and the interval then speaks for that group only. The same seed gives the
    same interval.

    Returns:
        None where resampling cannot tell how far off the AUC may be: a class has one image, or no
        resample differs, as where all anomalies score above all normals.

    Raises:
        DataError: a class is empty, or a score is not finite.
        ValueError: lengths differ, a label is not 0 or 1, or an option is out of range.
    """
    if n_resamples < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"n_resamples {n_resamples} must be >= 1 and level {level} within (0, 1)")
    label, group = np.asarray(labels), np.asarray(groups)
    runs = np.atleast_2d(np.asarray(scores))
    if label.ndim != 1 or not label.shape == runs.shape[1:] == group.shape:
        raise ValueError(f"lengths differ: {label.shape}, {runs.shape[1:]}, {group.shape}")
    if not np.isin(label, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (anomaly)")
    is_anomaly = label == 1
    few = min(is_anomaly.sum(), (~is_anomaly).sum()) == 1
    resampled = [
        _resampled_aurocs(
            score[~is_anomaly],
            score[is_anomaly],
            normal_groups=group[~is_anomaly],
            anomaly_groups=group[is_anomaly],
            n_resamples=n_resamples,
            seed=seed,  # the same resamples for every run
        )
        for score in runs
    ]
    if few or not np.ptp(resampled, axis=1).any():
        return None
    aurocs = np.mean(resampled, axis=0)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(aurocs, (tail, 1.0 - tail))
    return Interval(float(low), float(high))


def hanley_mcneil_se(auc: float, *, n_normal: int, n_anomaly: int) -> float:
    """Standard error that an AUC will have, known before any score is.

    20 anomalies and an AUC of 0.9 give about 0.046 however many the normals. Images count as
    independent and scores as roughly exponential: a planning figure, not a test's.
    Source: Hanley & McNeil 1982, Radiology 143:29-36, equations 1 and 2.

    Raises:
        ValueError: `auc` is outside [0, 1] or a count is below 1.
    """
    if not 0.0 <= auc <= 1.0 or n_normal < 1 or n_anomaly < 1:
        raise ValueError(
            f"auc {auc} must be within [0, 1], n_normal {n_normal} and n_anomaly {n_anomaly} >= 1"
        )
    # Q1 - auc^2 and Q2 - auc^2, factored so that rounding never makes them negative.
    two_anomalies = auc * (1.0 - auc) ** 2 / (2.0 - auc)
    two_normals = auc**2 * (1.0 - auc) / (1.0 + auc)
    variance = auc * (1.0 - auc) + (n_anomaly - 1) * two_anomalies + (n_normal - 1) * two_normals
    return sqrt(variance / (n_anomaly * n_normal))


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

    From Hanley & McNeil's standard error of one AUC, and of the difference of two AUCs on the same
    images, whose correlation r makes it smaller: SE sqrt(2 (1 - r)) (Hanley & McNeil 1983,
    Radiology 148:839-843). Nothing is known of either before a score is there, so both are assumed:
    an AUC of 0.9, and r = 0.5, with which the difference has the error of one AUC. The tie set
    measures both afterwards.

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


@dataclass(frozen=True)
class Estimate:
    """Test ROC AUC, the mean of one or more trainings, and its 95 % bootstrap interval.

    Attributes:
        auroc: the mean.
        low, high: ends of the interval, None where it cannot be had (see `bootstrap_auroc`).
        n_normal, n_anomaly: test images.
    """

    auroc: float
    low: float | None
    high: float | None
    n_normal: int
    n_anomaly: int

    @property
    def interval(self) -> Interval | None:
        """Both ends, None where it cannot be had."""
        if self.low is None or self.high is None:
            return None
        return Interval(self.low, self.high)

    def interval_words(self, *, dash: str = "-") -> str:
        """The interval as it is shown."""
        return interval_words(self.low, self.high, dash=dash)

    def why_no_interval(self) -> str | None:
        """In a sentence, None where there is an interval."""
        if self.low is not None:
            return None
        return (
            f"{self.n_normal} normal and {self.n_anomaly} anomalous test images that score so give "
            "no interval: their resamples do not differ, or a class has one image; add test images "
            "to know how far the figure may be off"
        )


def interval_words(
    low: float | None, high: float | None, *, decimals: int = 3, dash: str = "-"
) -> str:
    """An interval as it is shown, or that it cannot be had."""
    if low is None or high is None:
        return "cannot be had"
    return f"{low:.{decimals}f} {dash} {high:.{decimals}f}"


def mean_auroc(
    runs: Sequence[FoldResult],
    table: pd.DataFrame,
    normals: NDArray[np.intp],
    anomalies: NDArray[np.intp],
) -> float:
    """What `estimate` estimates, without its interval, which takes a thousand times as long."""
    return fmean(
        auroc(scores_at(run, table, normals), scores_at(run, table, anomalies)) for run in runs
    )


def estimate(
    runs: Sequence[FoldResult],
    table: pd.DataFrame,
    normals: NDArray[np.intp],
    anomalies: NDArray[np.intp],
    *,
    seed: int,
) -> Estimate:
    """ROC AUC of the images at `normals` against those at `anomalies`, rows of the table.

    The interval resamples groups (slides, patients) and is that of the mean over the runs.
    """
    positions = np.concatenate([normals, anomalies])
    labels = np.repeat([0, 1], [len(normals), len(anomalies)])
    scores = np.stack([scores_at(run, table, positions) for run in runs])
    mean = mean_auroc(runs, table, normals, anomalies)
    groups = table["group"].to_numpy(dtype=object)[positions]
    low, high = bootstrap_auroc(labels, scores, groups, seed=seed) or (None, None)
    return Estimate(mean, low, high, len(normals), len(anomalies))


def independent_units(groups: ArrayLike) -> NDArray[np.intp]:
    """Number (N,), from 0, of the unit that each image of a class is drawn with.

    A unit is a group (N,). One group alone shows no spread between groups: its images are units.
    """
    names, units = np.unique(np.asarray(groups), return_inverse=True)
    return units if names.size > 1 else np.arange(units.size)


def draw_counts(
    units: NDArray[np.intp], n_rows: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """How often each image occurs (n_rows, N) when its units are drawn with replacement."""
    n_units = int(units.max(initial=-1)) + 1
    if n_units == 0:
        return np.zeros((n_rows, 0), np.int64)
    drawn = rng.integers(n_units, size=(n_rows, n_units))
    drawn += n_units * np.arange(n_rows)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=n_rows * n_units)
    return counts.reshape(n_rows, n_units)[:, units]


def _resampled_aurocs(
    normals: NDArray[np.float64],
    anomalies: NDArray[np.float64],
    *,
    normal_groups: NDArray[np.generic],
    anomaly_groups: NDArray[np.generic],
    n_resamples: int,
    seed: int,
) -> FloatArray:
    rows = max(1, _CHUNK_CELLS // max(1, normals.size + anomalies.size))
    # A generator for each class, so that the result does not depend on the size of the chunks.
    normal_rng, anomaly_rng = np.random.default_rng(seed).spawn(2)
    normal_units = independent_units(normal_groups)
    anomaly_units = independent_units(anomaly_groups)
    return np.concatenate(
        [
            weighted_aurocs(
                normals,
                anomalies,
                normal_weights=draw_counts(normal_units, n_rows, normal_rng),
                anomaly_weights=draw_counts(anomaly_units, n_rows, anomaly_rng),
            )
            for n_rows in (min(rows, n_resamples - start) for start in range(0, n_resamples, rows))
        ]
    )


def _checked_scores(scores: ArrayLike, name: str) -> FloatArray:
    checked = np.asarray(scores, dtype=np.float64)
    if checked.ndim != 1:
        raise ValueError(f"{name} scores must have shape (N,), not {checked.shape}")
    if checked.size == 0:
        raise DataError(
            f"{name} scores: there are none; a ROC AUC needs normal and anomalous images, add some"
        )
    n_bad = int(np.count_nonzero(~np.isfinite(checked)))
    if n_bad:
        raise DataError(
            f"{name} scores: {n_bad} of {checked.size} are not finite; score those images again"
        )
    return checked


def _checked_weights(weights: ArrayLike, n_images: int) -> FloatArray:
    checked = np.asarray(weights, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[1] != n_images:
        raise ValueError(f"weights must have shape (R, {n_images}), not {checked.shape}")
    if (checked < 0).any() or not (checked.sum(axis=1) > 0).all():
        raise ValueError("weights must not be negative and must have a positive sum in each row")
    return checked
