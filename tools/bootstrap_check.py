"""Paired bootstrap of cross-validated AUCs: a check of `delong` that assumes no distribution."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hpsearch.evaluation.auroc import FloatArray, draw_counts
from hpsearch.evaluation.delong import FoldScores

# Resamples x images held at once: 16 MB an array, whatever the number of resamples.
_CHUNK_CELLS = 4_000_000


def bootstrap_aurocs(scores: FoldScores, *, n_resamples: int = 2000, seed: int = 0) -> FloatArray:
    """Values of all configurations on each of R resamples of the images, `(R, C)`.

    Whole groups are drawn with replacement, anomalies apart from normals, over all folds; images
    where a class is one group. All configurations meet the same resamples, so that the difference
    of two columns is a paired one. A fold that a resample leaves without a class is passed over in
    it; a resample that leaves all of them so, which takes folds of one group each, is NaN.
    """
    anomaly_rng, normal_rng = np.random.default_rng(seed).spawn(2)
    edges = np.cumsum([fold.shape[1] for fold in scores.normals])[:-1]
    rows = []
    for n_rows in _chunks(n_resamples, scores.normal_units.size):
        of_anomalies = draw_counts(scores.anomaly_units, n_rows, anomaly_rng)
        of_normals = draw_counts(scores.normal_units, n_rows, normal_rng)
        by_fold = np.split(of_normals, edges, axis=1)
        folds = [
            _fold_aurocs(
                scores.normals[fold],
                scores.anomalies[:, fold, counts],
                normal_weights=by_fold[fold],
                anomaly_weights=of_anomalies[:, counts],
            )
            for fold, counts in enumerate(scores.counts)
        ]
        rows.append(_mean_of_those_there(np.stack(folds)))
    return np.concatenate(rows)


def _fold_aurocs(
    normals: FloatArray,
    anomalies: FloatArray,
    *,
    normal_weights: NDArray[np.int64],
    anomaly_weights: NDArray[np.int64],
) -> FloatArray:
    """A fold's AUCs `(R, C)` of R weightings; NaN where a class has no weight."""
    # Sums of halves far below 2^23: single precision holds them exactly, at twice the speed.
    light = normal_weights.astype(np.float32)
    aurocs = np.empty((len(light), len(normals)))
    for configuration, (normal, anomaly) in enumerate(zip(normals, anomalies, strict=True)):
        column = normal[:, None]
        beats = (column < anomaly).astype(np.float32) + 0.5 * (column == anomaly)
        won = light @ beats.astype(np.float32)
        aurocs[:, configuration] = np.einsum("ra,ra->r", won, anomaly_weights, dtype=np.float64)
    pairs = normal_weights.sum(axis=1) * anomaly_weights.sum(axis=1)
    return np.where(pairs[:, None] > 0, aurocs / np.maximum(pairs, 1)[:, None], np.nan)


def _mean_of_those_there(folds: FloatArray) -> FloatArray:
    """Mean over the first axis without its NaNs, NaN where there is nothing else."""
    there = ~np.isnan(folds)
    n = there.sum(axis=0)
    total = np.where(there, folds, 0.0).sum(axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _chunks(n_resamples: int, n_images: int) -> Iterator[int]:
    rows = max(1, _CHUNK_CELLS // n_images)
    for start in range(0, n_resamples, rows):
        yield min(rows, n_resamples - start)
