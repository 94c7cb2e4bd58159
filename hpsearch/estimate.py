"""How good a detector is on test images it never met, with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.metrics import Interval, auroc, bootstrap_auroc
from hpsearch.results import FoldResult, scores_at


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
