"""How far a vector is from those of normal images, by scikit-learn and again as a torch network.

Normals without spread (one, or all alike) tell nothing of how normal images differ, and a
covariance or a tree then finds no direction to look in and scores every image alike. They are given
a small spread of their own, so that the score becomes what it tends to: a distance from the
normals. Nothing is refused, for the vectors of one configuration of a search may have no spread
where those of the others do.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from hpsearch.errors import SpecError

_NEIGHBOURS = 5
_LEAST_VARIANCE = 1e-6  # of a direction, relative to the mean over all
_JITTER = 1e-3  # deviation of a cloud around a vector; of scaled vectors it is 1
_JITTERED = 256  # vectors in all clouds: as many as a tree draws

Matrix = NDArray[np.float64]


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
    """Squared Mahalanobis distance under a Ledoit-Wolf covariance.

    With two distinct normals, or one, the estimator shrinks nothing and the covariance is singular:
    variances are at least `_LEAST_VARIANCE` of their mean. Without any spread the distance is the
    Euclidean one.
    """

    def __init__(self, seed: int) -> None:
        self.location = np.empty(0)
        self.precision: Matrix = np.empty((0, 0))

    def fit(self, normals: Matrix) -> None:
        """Estimate mean and covariance."""
        self.location = normals.mean(axis=0)
        if len(normals) > 1:
            covariance = LedoitWolf().fit(normals).covariance_
        else:
            covariance = np.zeros((len(self.location),) * 2)
        variances, directions = np.linalg.eigh(covariance)
        least = _LEAST_VARIANCE * variances.mean() or 1.0
        self.precision = (directions / np.maximum(variances, least)) @ directions.T

    def score(self, vectors: Matrix) -> Matrix:
        """Distances `(m,)`."""
        centred = vectors - self.location
        return np.asarray(np.einsum("ij,ij->i", centred @ self.precision, centred))

    def network(self) -> nn.Module:
        """The quadratic form."""
        return MahalanobisDistance(
            torch.from_numpy(self.location), torch.from_numpy(self.precision)
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
        self.seed = seed
        self.forest = IsolationForest(n_estimators=200, random_state=seed)

    def fit(self, normals: Matrix) -> None:
        """Grow the trees, of one or two distinct normals on a small cloud around each."""
        if len(np.unique(normals, axis=0)) <= 2:  # each in a leaf of its own, all of one depth
            normals = np.repeat(normals, max(1, _JITTERED // len(normals)), axis=0)
            rng = np.random.default_rng(self.seed)
            normals = normals + _JITTER * rng.standard_normal(normals.shape)
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


class MahalanobisDistance(nn.Module):
    """Squared Mahalanobis distance.

    Args:
        location: `(F,)`.
        precision: `(F, F)`, inverse of the covariance.
    """

    def __init__(self, location: Tensor, precision: Tensor) -> None:
        super().__init__()
        self.register_buffer("location", location)
        self.register_buffer("precision", precision)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(N,)` of `(N, F)`."""
        centred = vectors - self.get_buffer("location")
        return ((centred @ self.get_buffer("precision")) * centred).sum(dim=1)


class NeighbourDistance(nn.Module):
    """Mean Euclidean distance to the nearest normal vectors.

    Args:
        normals: `(M, F)`.
        n_neighbours: how many count.
    """

    def __init__(self, normals: Tensor, n_neighbours: int) -> None:
        super().__init__()
        self.register_buffer("normals", normals)
        self.n_neighbours = n_neighbours

    def forward(self, vectors: Tensor) -> Tensor:
        """`(N,)` of `(N, F)`."""
        normals = self.get_buffer("normals")
        products = vectors @ normals.T
        squares = (vectors**2).sum(dim=1, keepdim=True) - 2 * products + (normals**2).sum(dim=1)
        nearest, _ = squares.clamp(min=0).sqrt().topk(self.n_neighbours, dim=1, largest=False)
        return nearest.mean(dim=1)
