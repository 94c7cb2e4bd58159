"""Scores of several models on the scale of one, so that they may be pooled.

Models of one configuration that were trained on different images score on different scales: one
that saw few normals finds every image more abnormal. What is pooled without regard to that says
which model scored an image, not how abnormal it is. So two models are compared on images that
neither was trained on (as tests are equated by the questions that they share): the labelled
anomalies. Only their scores are used, not that they are anomalies.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

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
    `hpsearch.selection.conformal` leaves that out) the rate is only near the one asked for. Of 12
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
