"""How far a vector is from those of normal images, by scikit-learn and again as a torch network.

Normals without spread (one, or all alike) tell nothing of how normal images differ, and a
covariance or a tree then finds no direction to look in and scores every image alike. They are given
a small spread of their own, so that the score becomes what it tends to: a distance from the
normals. Nothing is refused, for the vectors of one configuration of a search may have no spread
where those of the others do.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM
from torch import Tensor, nn

from hpsearch.errors import SpecError

_NEIGHBOURS = 5
_LEAST_VARIANCE = 1e-6  # of a direction, relative to the mean over all
_DENSITY_NEIGHBOURS = 20  # of the local outlier factor, scikit-learn's default
_COMPONENTS = 5  # of a Gaussian mixture
_MIXTURE_RIDGE = 0.01  # of its variances; of scaled vectors they are 1 over all components
_OUTSIDE = 0.1  # share of the normals that a one-class SVM may leave outside
_EXPLAINED = 0.95  # share of the variance that principal components keep
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
        """Grow the trees."""
        self.forest.fit(with_spread(normals, self.seed))  # else each leaf is of one depth

    def score(self, vectors: Matrix) -> Matrix:
        """Scores `(m,)`."""
        return -np.asarray(self.forest.score_samples(vectors))

    def network(self) -> nn.Module:
        """Refused: trees are no network."""
        raise SpecError(
            "export: an isolation forest is no network; use hpsearch predict, or search with "
            "--axis kind=mahalanobis,knn"
        )


class LocalDensity:
    """Local outlier factor: how much denser normals lie around the nearest ones than around it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.factor = LocalOutlierFactor(novelty=True)

    def fit(self, normals: Matrix) -> None:
        """Index the distinct normals, for among copies a density has no bound."""
        distinct = np.unique(with_spread(normals, self.seed), axis=0)
        self.factor.set_params(n_neighbors=min(_DENSITY_NEIGHBOURS, len(distinct) - 1))
        self.factor.fit(distinct)

    def score(self, vectors: Matrix) -> Matrix:
        """Factors `(m,)`."""
        return -np.asarray(self.factor.score_samples(vectors))

    def network(self) -> nn.Module:
        """Refused: its score looks at the neighbours of neighbours."""
        raise SpecError(
            "export: a local outlier factor is no network here; use hpsearch predict, or search "
            "with --axis kind=mahalanobis,knn"
        )


class Mixture:
    """Negative log-density of a mixture of Gaussians with a variance for each direction."""

    def __init__(self, seed: int) -> None:
        self.mixture = GaussianMixture(
            covariance_type="diag", reg_covar=_MIXTURE_RIDGE, random_state=seed
        )

    def fit(self, normals: Matrix) -> None:
        """Fit as many components as there are distinct normals, five at most."""
        n_distinct = len(np.unique(normals, axis=0))
        self.mixture.set_params(n_components=min(_COMPONENTS, n_distinct))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is a score, converged or not
            self.mixture.fit(np.repeat(normals, 2, axis=0) if len(normals) == 1 else normals)

    def score(self, vectors: Matrix) -> Matrix:
        """Negative log-densities `(m,)`."""
        return -np.asarray(self.mixture.score_samples(vectors))

    def network(self) -> nn.Module:
        """The densities of all components, added up."""
        return MixtureDensity(
            *(
                torch.from_numpy(values)
                for values in (
                    self.mixture.weights_,
                    self.mixture.means_,
                    self.mixture.covariances_,
                )
            )
        )


class KernelDensityEstimate:
    """Negative log-density by a Gaussian kernel around each normal, its width by Scott's rule."""

    def __init__(self, seed: int) -> None:
        self.density = KernelDensity(bandwidth="scott")
        self.normals: Matrix = np.empty((0, 0))

    def fit(self, normals: Matrix) -> None:
        """Index the normal vectors."""
        self.density.fit(normals)
        self.normals = normals

    def score(self, vectors: Matrix) -> Matrix:
        """Negative log-densities `(m,)`."""
        return -np.asarray(self.density.score_samples(vectors))

    def network(self) -> nn.Module:
        """A mixture of as many Gaussians as there are normals."""
        n = len(self.normals)
        variances = np.full_like(self.normals[:1], self.density.bandwidth_**2)
        return MixtureDensity(
            torch.full((n,), 1 / n, dtype=torch.float64),
            torch.from_numpy(self.normals),
            torch.from_numpy(variances),
        )


class OneClassMachine:
    """How far outside the border of a one-class SVM, with scikit-learn's width of the kernel.

    The logarithm of the kernel's sum, 0 at the border: the sum itself is the same number for all
    that lies far away, and the order is that of the decision function.
    """

    def __init__(self, seed: int) -> None:
        self.machine = OneClassSVM(nu=_OUTSIDE)

    def fit(self, normals: Matrix) -> None:
        """Find the border."""
        self.machine.fit(normals)

    def score(self, vectors: Matrix) -> Matrix:
        """Negative logarithms `(m,)`, negative inside."""
        squares = cdist(vectors, self.machine.support_vectors_, "sqeuclidean")
        weights = self.machine.dual_coef_[0] / -self.machine.intercept_
        return -np.asarray(logsumexp(-self.machine._gamma * squares, axis=1, b=weights))

    def network(self) -> nn.Module:
        """The kernel against every support vector."""
        return KernelBorder(
            torch.from_numpy(self.machine.support_vectors_),
            torch.from_numpy(self.machine.dual_coef_[0] / -self.machine.intercept_),
            float(self.machine._gamma),
        )


class PrincipalComponents:
    """Squared distance from the plane of the directions in which normal vectors vary most."""

    def __init__(self, seed: int) -> None:
        self.location = np.empty(0)
        self.directions: Matrix = np.empty((0, 0))

    def fit(self, normals: Matrix) -> None:
        """Keep the directions that explain most of the variance, and leave one out in any case."""
        self.location = normals.mean(axis=0)
        self.directions = np.empty((0, len(self.location)))
        if (normals != normals[0]).any():
            components = PCA(n_components=_EXPLAINED, svd_solver="full").fit(normals)
            self.directions = components.components_[: len(self.location) - 1]

    def score(self, vectors: Matrix) -> Matrix:
        """Squared distances `(m,)`."""
        centred = vectors - self.location
        outside = centred - centred @ self.directions.T @ self.directions
        return np.asarray((outside**2).sum(axis=1))

    def network(self) -> nn.Module:
        """The squared norm of what a projection leaves: a Mahalanobis distance."""
        projection = np.eye(len(self.location)) - self.directions.T @ self.directions
        return MahalanobisDistance(torch.from_numpy(self.location), torch.from_numpy(projection))


OUTLIER_MODELS: Mapping[str, type[OutlierModel]] = {
    "mahalanobis": Mahalanobis,
    "knn": NearestNeighbourDistance,
    "isolation_forest": Forest,
    "lof": LocalDensity,
    "gmm": Mixture,
    "kde": KernelDensityEstimate,
    "ocsvm": OneClassMachine,
    "pca": PrincipalComponents,
}


def with_spread(normals: Matrix, seed: int) -> Matrix:
    """The normals, or a small cloud around each where there are one or two distinct ones."""
    if len(np.unique(normals, axis=0)) > 2:
        return normals
    normals = np.repeat(normals, max(1, _JITTERED // len(normals)), axis=0)
    return normals + _JITTER * np.random.default_rng(seed).standard_normal(normals.shape)


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


class MixtureDensity(nn.Module):
    """Negative log-density under a mixture of Gaussians with diagonal covariances.

    Args:
        weights: `(K,)`.
        means: `(K, F)`.
        variances: `(K, F)`, or `(1, F)` where all components share them.
    """

    def __init__(self, weights: Tensor, means: Tensor, variances: Tensor) -> None:
        super().__init__()
        n_features = means.shape[1]
        constant = (n_features * math.log(2 * math.pi) + variances.log().sum(dim=1)) / 2
        self.register_buffer("precisions", 1 / variances)
        self.register_buffer("means", means)
        self.register_buffer("constants", weights.log() - constant)  # (K,)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(N,)` of `(N, F)`."""
        means, precisions = self.get_buffer("means"), self.get_buffer("precisions")
        squares = (
            vectors.square() @ precisions.T
            - 2 * vectors @ (means * precisions).T
            + (means.square() * precisions).sum(dim=1)
        )
        return -torch.logsumexp(self.get_buffer("constants") - squares / 2, dim=1)


class KernelBorder(nn.Module):
    """How far outside the border of a one-class SVM with a Gaussian kernel, as a logarithm.

    Args:
        supports: support vectors `(M, F)`.
        weights: `(M,)` of theirs, in units of the kernel's sum at the border.
        gamma: the kernel is exp(-gamma |x - y|²).
    """

    def __init__(self, supports: Tensor, weights: Tensor, gamma: float) -> None:
        super().__init__()
        self.register_buffer("supports", supports)
        self.register_buffer("logarithms", weights.log())
        self.gamma = gamma

    def forward(self, vectors: Tensor) -> Tensor:
        """`(N,)` of `(N, F)`."""
        supports = self.get_buffer("supports")
        squares = (
            vectors.square().sum(dim=1, keepdim=True)
            - 2 * vectors @ supports.T
            + supports.square().sum(dim=1)
        )
        return -torch.logsumexp(self.get_buffer("logarithms") - self.gamma * squares, dim=1)
