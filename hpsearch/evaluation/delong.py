"""Cross-validated AUCs of all configurations and their joint covariance, in one pass.

The value of a configuration is the mean over folds of the folds' AUCs, each of that fold's normals
against the labelled anomalies. All configurations meet the same images, so their values are
correlated, and the covariance of what each image adds (its placement) tells how much.
Sources: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837-845, for one fold; Obuchowski 1997,
Biometrics 53:567-578, for images that come in groups.

Placements: what each image alone adds to an AUC, from which every other figure is made.

The AUC of normals against anomalies is the mean of the anomalies' placements among the normals, so
the AUC of any subset of the anomalies is a mean again, and no ranks are computed anew.
Source: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837-845, section 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpsearch.evaluation.fold_scores import FloatArray, FoldScores


def placements(scores: ArrayLike, among: ArrayLike) -> NDArray[np.float64]:
    """The share of `among` `(N,)` that each of `scores` `(A,)` lies above, in [0, 1].

    An equal one counts one half.

    Returns:
        `(A,)`.
    """
    others = np.sort(np.asarray(among, dtype=np.float64))
    values = np.asarray(scores, dtype=np.float64)
    below = np.searchsorted(others, values, side="left")
    up_to = np.searchsorted(others, values, side="right")
    shares: NDArray[np.float64] = (below + up_to) / (2.0 * others.size)
    return shares


@dataclass(frozen=True, eq=False)
class AurocEstimates:
    """Values of C configurations and how they vary together.

    Attributes:
        values: `(C,)`.
        from_anomalies: `(C, C)`, the covariance that other anomalies would cause; zero where there
            is one unit only, which shows no spread.
        from_normals: `(C, C)`, the same of the normals.
        n_anomaly, n_normal: how many independent units there are: groups, or images where a class
            is one group.
    """

    values: FloatArray
    from_anomalies: FloatArray
    from_normals: FloatArray
    n_anomaly: int
    n_normal: int

    @property
    def covariance(self) -> FloatArray:
        """`(C, C)`."""
        return self.from_anomalies + self.from_normals

    def with_a_draw(self) -> "AurocEstimates":
        """The same with one more anomaly, that no configuration tells from a normal image.

        Its placement is one half. A few anomalies that all lie above all normals show no spread,
        and an error of zero is not to be believed; this one keeps every error above zero.
        """
        n, offset = self.n_anomaly, self.values - 0.5
        spread = (n - 1) * self.from_anomalies + np.outer(offset, offset) / (n + 1)
        return AurocEstimates(
            values=0.5 + offset * n / (n + 1),
            from_anomalies=spread / (n + 1),
            from_normals=self.from_normals,
            n_anomaly=n + 1,
            n_normal=self.n_normal,
        )

    def degrees_of_freedom(self, weights: FloatArray) -> float:
        """Of the variance of the values' weighted sum, weights `(C,)` (Satterthwaite 1946).

        Of several sums, weights `(R, C)`, those of the mean of their variances.
        """
        rows = np.atleast_2d(weights)
        parts = [
            float(np.einsum("rc,cd,rd->", rows, part, rows))
            for part in (self.from_anomalies, self.from_normals)
        ]
        units = (self.n_anomaly, self.n_normal)
        squares = sum(part**2 / max(1, n - 1) for part, n in zip(parts, units, strict=True))
        return sum(parts) ** 2 / squares if squares > 0.0 else float(max(1, self.n_anomaly - 1))


def estimate_aurocs(scores: FoldScores) -> AurocEstimates:
    """Values and covariance from the images' placements.

    An image's influence is the departure of its placement from the value, divided by how many share
    its fold and by the folds; over folds, and within a group, influences are added up before they
    are squared. With one fold this is DeLong's covariance; an anomaly that all folds count enters
    by its mean placement. What a fold's AUC departs from the others' counts as spread too. A group
    with images of both classes counts in each on its own.
    """
    n_folds = len(scores.normals)
    values = np.zeros(len(scores.anomalies))
    of_anomalies = np.zeros((len(values), scores.anomalies.shape[2]))
    of_normals = []
    for fold, counts in enumerate(scores.counts):
        above, below = _fold_placements(scores.normals[fold], scores.anomalies[:, fold, counts])
        values += above.mean(axis=1) / n_folds
        of_anomalies[:, counts] += above / (above.shape[1] * n_folds)
        of_normals.append(below / (below.shape[1] * n_folds))
    shares = (scores.counts / scores.counts.sum(axis=1, keepdims=True)).mean(axis=0)
    sizes = [len(below.T) for below in of_normals]
    normal_shares = np.repeat([1.0 / (size * n_folds) for size in sizes], sizes)
    return AurocEstimates(
        values,
        _covariance(of_anomalies - np.outer(values, shares), scores.anomaly_units),
        _covariance(
            np.concatenate(of_normals, axis=1) - np.outer(values, normal_shares),
            scores.normal_units,
        ),
        n_anomaly=_count(scores.anomaly_units),
        n_normal=_count(scores.normal_units),
    )


def _fold_placements(normals: FloatArray, anomalies: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Anomalies' placements `(C, A)` above normals, and of the normals `(C, N)` below anomalies."""
    pairs = list(zip(normals, anomalies, strict=True))
    above = [placements(anomaly, among=normal) for normal, anomaly in pairs]
    below = [1.0 - placements(normal, among=anomaly) for normal, anomaly in pairs]
    return np.array(above), np.array(below)


def _covariance(influences: FloatArray, units: NDArray[np.intp]) -> FloatArray:
    """Covariance `(C, C)` of sums over units, from the influences `(C, N)` of their images."""
    n = _count(units)
    if n == 1:
        return np.zeros((len(influences), len(influences)))
    sums: FloatArray = np.stack(
        [np.bincount(units, weights=row, minlength=n) for row in influences]
    )
    covariance: FloatArray = sums @ sums.T * (n / (n - 1))
    return covariance


def _count(units: NDArray[np.intp]) -> int:
    return int(units.max()) + 1
