"""The detector on pooled features as one network, in float64 after the pooling."""

import torch
from torch import Tensor, nn

from dpa_core.features import FeatureExtractor


class PooledGraph(nn.Module):
    """From pixels to one vector per image, to its distance from the normal ones.

    Args:
        vectors: uint8 `(N, S, S, C)` to vectors `(N, F)`.
        mean, scale: `(F,)`, of the normal vectors.
        distance: scaled vectors `(N, F)` to scores `(N,)`.
    """

    def __init__(
        self, vectors: nn.Module, mean: Tensor, scale: Tensor, distance: nn.Module
    ) -> None:
        super().__init__()
        self.vectors = vectors
        self.distance = distance
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, images: Tensor) -> Tensor:
        """Scores `(N,)` of uint8 `(N, S, S, C)`."""
        vectors = self.vectors(images).double()
        scores: Tensor = self.distance(
            (vectors - self.get_buffer("mean")) / self.get_buffer("scale")
        )
        return scores


class PooledLayer(nn.Module):
    """The features of one layer, averaged over positions."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        """`(N, F)` of uint8 `(N, S, S, C)`."""
        features = self.extractor(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
        (values,) = features.values()
        pooled: Tensor = values.mean(dim=(2, 3))
        return pooled


class ColourStatistics(nn.Module):
    """Mean and standard deviation of each channel."""

    def forward(self, images: Tensor) -> Tensor:
        """`(N, 2 C)` of uint8 `(N, S, S, C)`."""
        values = images.double() / 255
        return torch.cat([values.mean(dim=(1, 2)), values.std(dim=(1, 2), correction=0)], dim=1)


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
