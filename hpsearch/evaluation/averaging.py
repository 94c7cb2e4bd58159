"""The average of several detectors' scores: whose, with which weights, and in which units.

Detectors score on scales of their own, so each score is put in units of its own held-out normals:
how many robust standard deviations it lies above their median.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from hpsearch.evaluation.auroc import FloatArray
from hpsearch.storage.results import FoldResult

N_BEST = 5
"""Detectors that were trained without labels in an average, where there are as many."""

_PER_DEVIATION = 1.4826  # standard deviation of a normal distribution over its median deviation


@dataclass(frozen=True)
class Part:
    """How a score s counts in an average: as weight * (s - location) / scale.

    Attributes:
        weight: those of an average sum to 1.
        location, scale: median and robust standard deviation of held-out normals.
    """

    weight: float
    location: float
    scale: float

    def of(self, scores: FloatArray) -> FloatArray:
        """What scores add to the average, of any shape."""
        return self.weight * (scores - self.location) / self.scale


def part_of(held_out: ArrayLike, *, weight: float) -> Part:
    """The part of a detector, by its scores `(n,)` of held-out normals.

    The scale is 1.4826 times the median absolute deviation; where most of the scores are equal the
    standard deviation, and 1 where all are.
    """
    scores = np.asarray(held_out, dtype=np.float64)
    location = float(np.median(scores))
    robust = _PER_DEVIATION * float(np.median(np.abs(scores - location)))
    return Part(weight, location, robust or float(scores.std()) or 1.0)


def weights_of(
    values: Mapping[int, float], *, head: int | None = None, head_holds: bool = False
) -> dict[int, float]:
    """Whom a final model averages: the weight of each trial, the highest value first, then `head`.

    The `N_BEST` of the highest value share in equal parts; one that was trained on the labels takes
    as much as all of them together, for it sees what they cannot, and is held by them where it sees
    nothing: on types of anomalies that no label showed.

    Args:
        values: cross-validated AUC of the trials that were trained without labels, by number.
        head: number of the trial that was trained on the labels, None for none.
        head_holds: whether it was shown to be the best on types that it was not trained on; then it
            stands alone.
    """
    best = sorted(values, key=lambda trial: (-values[trial], trial))[:N_BEST]
    if head is None:
        return {trial: 1 / len(best) for trial in best}
    if not best or head_holds:
        return {head: 1.0}
    return {trial: 0.5 / len(best) for trial in best} | {head: 0.5}


def averaged_scores(scores: Sequence[FloatArray], parts: Sequence[Part]) -> FloatArray:
    """The average `(n,)` of each detector's scores `(n,)` of the same images."""
    return np.asarray(
        sum(part.of(of_one) for part, of_one in zip(parts, scores, strict=True)), dtype=np.float64
    )


def averaged_run(runs: Sequence[FoldResult], parts: Sequence[Part]) -> FoldResult:
    """A final training of each detector as one: averaged scores of the images that all scored.

    It has no curve, and the digest is all of theirs.
    """
    columns = [run.scores.set_index(["image_id", "role"])["score"] for run in runs]
    scores = pd.concat(columns, axis=1, join="inner", keys=range(len(runs)))
    average = averaged_scores([scores[n].to_numpy(dtype=np.float64) for n in scores], parts)
    return FoldResult(
        digest="+".join(run.digest for run in runs),
        scores=scores.index.to_frame(index=False).assign(score=average),
        best_step=round(fmean(run.best_step for run in runs)),
        best_loss=None,
        curve=runs[0].curve.iloc[:0],
        seconds=math.fsum(run.seconds for run in runs),
        peak_memory_mb=max(run.peak_memory_mb for run in runs),
        device=", ".join(dict.fromkeys(run.device for run in runs)),
    )
