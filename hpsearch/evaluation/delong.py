"""Cross-validated AUCs of all configurations, their joint covariance, and intervals of them.

The value of a configuration is the mean over folds of the folds' AUCs, each of that fold's normals
against the labelled anomalies. All configurations meet the same images, so their values are
correlated, and the covariance of what each image adds (its placement) tells how much. The AUC of
normals against anomalies is the mean of the anomalies' placements among the normals, so the AUC of
any subset of the anomalies is a mean again, and no ranks are computed anew.
Sources: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837-845, for one fold; Obuchowski 1997,
Biometrics 53:567-578, for images that come in groups.

By hand, for no library has the covariance over folds, or of images in groups.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import t as student

from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import FloatArray, Interval, independent_units

Groups = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class FoldScores:
    """Scores of C configurations in F folds, of the same images for all configurations.

    Attributes:
        normals: a fold's normals, `(C, N_f)` for each of the F folds; a normal is in one fold only.
        anomalies: of A labelled anomalies by every fold, `(C, F, A)`.
        scored: `(F, A)`, which of them a fold's AUC counts; None for all (`shared`).
        normal_groups: slide, patient or object of a fold's normals, `(N_f,)` each; None where every
            image stands for itself.
        anomaly_groups: the same of the anomalies, `(A,)`.

    Raises:
        DataError: a fold counts no normal or no anomaly, or a score is not finite.
        ValueError: shapes do not fit, or an anomaly counts in no fold.
    """

    normals: tuple[FloatArray, ...]
    anomalies: FloatArray
    scored: NDArray[np.bool_] | None = None
    normal_groups: tuple[Groups, ...] | None = None
    anomaly_groups: Groups | None = None

    def __post_init__(self) -> None:
        n_configurations, n_folds, n_anomalies = self.anomalies.shape
        sizes = [fold.shape[1] for fold in self.normals]
        groups = self.normal_groups
        fits = (
            n_configurations > 0
            and len(sizes) == n_folds
            and all(fold.shape[0] == n_configurations for fold in self.normals)
            and (self.scored is None or self.scored.shape == (n_folds, n_anomalies))
            and (self.anomaly_groups is None or self.anomaly_groups.shape == (n_anomalies,))
            and (groups is None or [names.shape for names in groups] == [(n,) for n in sizes])
        )
        if not fits:
            raise ValueError(
                f"fold scores: anomalies {self.anomalies.shape} must be (C, F, A), normals "
                f"{[fold.shape for fold in self.normals]} F times (C, N_f), `scored` (F, A), and "
                "groups as long as their images"
            )
        if not (self.counts.any(axis=1).all() and all(fold.shape[1] for fold in self.normals)):
            raise DataError(
                "fold scores: a fold has no normal or no labelled anomaly; a ROC AUC needs both, "
                "give more images"
            )
        if not self.counts.any(axis=0).all():
            raise ValueError("fold scores: an anomaly counts in no fold; leave it out")
        counted = [*self.normals, self.anomalies[:, self.counts]]
        n_bad = sum(int(np.count_nonzero(~np.isfinite(part))) for part in counted)
        if n_bad:
            raise DataError(f"fold scores: {n_bad} are not finite; score those images again")

    @cached_property
    def counts(self) -> NDArray[np.bool_]:
        """`(F, A)`, which anomalies a fold's AUC counts."""
        if self.scored is None:
            return np.ones(self.anomalies.shape[1:], dtype=np.bool_)
        return self.scored

    @cached_property
    def anomaly_units(self) -> NDArray[np.intp]:
        """`(A,)`, numbers of the independent units: groups, or images where there is one group."""
        groups = self.anomaly_groups
        return independent_units(np.zeros(self.anomalies.shape[2]) if groups is None else groups)

    @cached_property
    def normal_units(self) -> NDArray[np.intp]:
        """The same of all folds' normals, fold by fold."""
        sizes = [fold.shape[1] for fold in self.normals]
        groups = self.normal_groups
        return independent_units(np.zeros(sum(sizes)) if groups is None else np.concatenate(groups))

    def with_anomalies(self, chosen: NDArray[np.bool_]) -> "FoldScores":
        """The same with the `chosen` `(A,)` of the anomalies alone, in the folds that count one.

        Raises:
            DataError: none is chosen.
        """
        if not chosen.any():
            raise DataError("labelled anomalies: there are none of these; label more")
        counts = self.counts[:, chosen]
        kept = np.flatnonzero(counts.any(axis=1))
        groups = self.normal_groups
        return FoldScores(
            normals=tuple(self.normals[fold] for fold in kept),
            anomalies=self.anomalies[:, kept][:, :, chosen],
            scored=counts[kept],
            normal_groups=None if groups is None else tuple(groups[fold] for fold in kept),
            anomaly_groups=None if self.anomaly_groups is None else self.anomaly_groups[chosen],
        )


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
        pairs = list(zip(scores.normals[fold], scores.anomalies[:, fold, counts], strict=True))
        above = np.array([placements(anomaly, among=normal) for normal, anomaly in pairs])
        below = np.array([1.0 - placements(normal, among=anomaly) for normal, anomaly in pairs])
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


def auroc_interval(
    estimates: AurocEstimates, configuration: int, *, level: float = 0.95
) -> Interval:
    """Interval of one value, on the scale of the log odds; it holds the value itself.

    With one more anomaly that counts one half (`AurocEstimates.with_a_draw`), and Student's t for
    the few there are. In 1,000 simulated draws of 20 anomalies the 95 % interval covered AUCs of
    0.7, 0.8 and 0.9 in 95 to 97 %, where DeLong's plain one covered 0.9 in 89 %; 0.95 in 92 %
    (plain 85 %) and 0.97 in 91 % (plain 83 %): so near 1 the few hard anomalies are often not among
    the 20.
    """
    drawn = estimates.with_a_draw()
    value = drawn.values[configuration]
    weights = np.eye(len(drawn.values))[configuration]
    error = np.sqrt(drawn.covariance[configuration, configuration]) / (value * (1.0 - value))
    reach = student.isf((1.0 - level) / 2.0, drawn.degrees_of_freedom(weights)) * error
    low, high = expit(logit(value) + np.array([-reach, reach]))
    # A value of 1 from few anomalies lies above what the draw, as one more of them, leaves of it.
    seen = float(estimates.values[configuration])
    return Interval(min(float(low), seen), max(float(high), seen))


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
