"""What a threshold flags of the test images, and whether these are like what it was made from.

How good a detector is on test images it never met, with an interval.

Scores of several models on the scale of one, so that they may be pooled.

Models of one configuration that were trained on different images score on different scales: one
that saw few normals finds every image more abnormal. What is pooled without regard to that says
which model scored an image, not how abnormal it is. So two models are compared on images that
neither was trained on (as tests are equated by the questions that they share): the labelled
anomalies. Only their scores are used, not that they are anomalies.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from hpsearch.evaluation.conformal import ConformalThreshold
from hpsearch.storage.results import FoldResult, scores_at

if TYPE_CHECKING:  # it imports torch, which a command that only reads need not wait for
    from hpsearch.protocol.labels import TestRoles
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

from hpsearch.evaluation.auroc import Interval, auroc, bootstrap_auroc

_SIGNIFICANT = 0.05  # both sides together


@dataclass(frozen=True)
class Flagging:
    """From which score on the final model calls an image anomalous, and how that turned out.

    Attributes:
        threshold: from the fold models' scores of the normals that they were not trained on, on
            the final model's scale (`hpsearch.evaluation.threshold`). The final model has seen all
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
    threshold: ConformalThreshold, run: FoldResult, table: pd.DataFrame, roles: "TestRoles"
) -> Flagging:
    """What a final training flags of the test images."""

    def share(positions: Any) -> float:
        return float((scores_at(run, table, positions) > threshold.threshold).mean())

    return Flagging(threshold, share(roles.normals), share(roles.headline))


@dataclass(frozen=True)
class Estimate:
    """Test ROC AUC, the mean of one or more trainings, and its 95 % bootstrap interval.

    Attributes:
        auroc: the mean.
        low, high: ends of the interval, None where it cannot be had (`metrics.bootstrap_auroc`).
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


FloatArray = NDArray[np.float64]

_MOST = 500  # anchors that a line is drawn through, for it takes the slopes of all pairs


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
    `hpsearch.evaluation.conformal` leaves that out) the rate is only near the one asked for. Of 12
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
    return np.concatenate(
        [_moved(scores, own, target) for scores, own in zip(held_out, anchors, strict=True)]
    )


def _moved(scores: FloatArray, own: FloatArray, target: FloatArray) -> FloatArray:
    if min(scores.min(), own.min(), target.min()) > 0:
        moved: FloatArray = np.exp(_on_line(np.log(scores), np.log(own), np.log(target)))
        return moved
    return _on_line(scores, own, target)


def _on_line(scores: FloatArray, own: FloatArray, target: FloatArray) -> FloatArray:
    slope = 1.0
    if np.ptp(own) > 0 and scores.max() >= own.min():
        every = -(-own.size // _MOST)
        found = float(theilslopes(target[::every], own[::every]).slope)
        slope = found if found > 0 else slope
    moved = slope * scores + float(np.median(target - slope * own))
    highest = np.where(scores < own.min(), target.min(), np.inf)
    lowest = np.where(scores > own.max(), target.max(), -np.inf)
    ordered: FloatArray = moved.clip(lowest, highest)
    return ordered
