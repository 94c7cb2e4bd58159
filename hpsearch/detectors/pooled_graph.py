"""The detector on pooled features as one network, in float64 after the pooling."""

import torch
from torch import Tensor, nn

from dpa_core.batches import as_input
from dpa_core.features import FeatureExtractor

COLOUR = "colour"
"""The name of colour statistics where a layer is named."""


class PooledGraph(nn.Module):
    """From pixels to one vector per image, to its distance from the normal ones.

    Args:
        vectors: uint8 `(N, S, S, C)` to the vectors `(N, F)` of one layer, under its name.
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
        (vectors,) = self.vectors(images).values()
        scores: Tensor = self.distance(
            (vectors.double() - self.get_buffer("mean")) / self.get_buffer("scale")
        )
        return scores


class PooledLayers(nn.Module):
    """The features of some layers, averaged over positions."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Per layer `(N, F)` of uint8 `(N, S, S, C)`."""
        features = self.extractor(as_input(images))
        return {layer: values.mean(dim=(2, 3)).float() for layer, values in features.items()}


class ColourStatistics(nn.Module):
    """Mean and standard deviation of each channel, as if they were a layer."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`(N, 2 C)` of uint8 `(N, S, S, C)`."""
        values = images.double() / 255
        both = [values.mean(dim=(1, 2)), values.std(dim=(1, 2), correction=0)]
        return {COLOUR: torch.cat(both, dim=1)}


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
