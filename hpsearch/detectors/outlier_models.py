"""Outlier scores of vectors: fitted on those of normal images, rising with abnormality."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from torch import nn

from hpsearch.detectors.pooled_graph import MahalanobisDistance, NeighbourDistance
from hpsearch.errors import SpecError

Matrix = NDArray[np.float64]

_NEIGHBOURS = 5


class OutlierModel(Protocol):
    """Fitted on vectors of normal images; scores rise with abnormality."""

    def __init__(self, seed: int) -> None: ...

    def fit(self, normals: Matrix) -> None:
        """Fit on `(n, C)`."""

    def score(self, vectors: Matrix) -> Matrix:
        """Scores `(m,)` of vectors `(m, C)`."""

    def network(self) -> nn.Module:
        """The same in torch, float64.

        Raises:
            SpecError: it is no network.
        """


class Mahalanobis:
    """Squared Mahalanobis distance under a Ledoit-Wolf covariance."""

    def __init__(self, seed: int) -> None:
        self.covariance = LedoitWolf()

    def fit(self, normals: Matrix) -> None:
        """Estimate mean and covariance."""
        self.covariance.fit(normals)

    def score(self, vectors: Matrix) -> Matrix:
        """Distances `(m,)`."""
        return np.asarray(self.covariance.mahalanobis(vectors))

    def network(self) -> nn.Module:
        """The quadratic form."""
        return MahalanobisDistance(
            torch.from_numpy(self.covariance.location_),
            torch.from_numpy(self.covariance.get_precision()),
        )


class NearestNeighbourDistance:
    """Mean distance to the five nearest normal vectors."""

    def __init__(self, seed: int) -> None:
        self.index = NearestNeighbors()
        self.normals: Matrix = np.empty((0, 0))

    def fit(self, normals: Matrix) -> None:
        """Index the normal vectors."""
        self.index.set_params(n_neighbors=min(_NEIGHBOURS, len(normals)))
        self.index.fit(normals)
        self.normals = normals

    def score(self, vectors: Matrix) -> Matrix:
        """Distances `(m,)`."""
        distances, _ = self.index.kneighbors(vectors)
        return np.asarray(distances.mean(axis=1))

    def network(self) -> nn.Module:
        """All distances, and the smallest of them."""
        return NeighbourDistance(torch.from_numpy(self.normals), self.index.n_neighbors)


class Forest:
    """Isolation forest, its score turned so that it rises with abnormality."""

    def __init__(self, seed: int) -> None:
        self.forest = IsolationForest(n_estimators=200, random_state=seed)

    def fit(self, normals: Matrix) -> None:
        """Grow the trees."""
        self.forest.fit(normals)

    def score(self, vectors: Matrix) -> Matrix:
        """Scores `(m,)`."""
        return -np.asarray(self.forest.score_samples(vectors))

    def network(self) -> nn.Module:
        """Refused: trees are no network."""
        raise SpecError(
            "export: an isolation forest is no network; use hpsearch predict, or search with "
            "--axis kind=mahalanobis,knn"
        )


OUTLIER_MODELS: Mapping[str, type[OutlierModel]] = {
    "mahalanobis": Mahalanobis,
    "knn": NearestNeighbourDistance,
    "isolation_forest": Forest,
}
