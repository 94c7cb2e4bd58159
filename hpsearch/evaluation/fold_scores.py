"""What a study's folds scored, as arrays: all that selection needs to know of a study."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import independent_units

FloatArray = NDArray[np.float64]
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
        self._check_shapes()
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

    def _check_shapes(self) -> None:
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
