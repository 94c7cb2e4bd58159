"""One feature vector per image, computed once for a stored image variant and cached.

The detector on pooled features as one network, in float64 after the pooling.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpa_core.batches import as_input
from dpa_core.features import FeatureExtractor
from dpa_core.precision import full_float32
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.base import ImageView
from hpsearch.io.cache import read_or_make
from hpsearch.io.files import atomic_path

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


USUAL_LAYERS = ("r12", "r22", "r32", "r42")
_CHUNK = 64  # images a pass


def pooled_features(
    images: ImageView, layer: str, backbone: Backbone, *, device: str, cache_dir: Path
) -> NDArray[np.float64]:
    """Feature vectors `(n, C)`.

    Args:
        images: which images.
        layer: a VGG layer, averaged over positions, or `colour`: the mean and the standard
            deviation of each colour channel.
        backbone: the network of the layers.
        device: where it runs.
        cache_dir: folder that keeps the vectors of all images of the variant, where it has a key.
    """
    if layer == COLOUR:
        return colour_statistics(images.array())
    if images.key is None:
        return _pooled(images.array(), (layer,), backbone, device)[layer].astype(np.float64)
    # The usual layers come out of one pass, so that a search over layers costs no more than one.
    layers = USUAL_LAYERS if layer in USUAL_LAYERS else (layer,)
    key = json.dumps([backbone.digest, layers, images.key, "float32"])
    path = cache_dir / "pooled" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    known = [name for name in layers if name in backbone.architecture.layers]

    def make(target: Path) -> None:
        _write(target, _pooled(images.pixels, known or layers, backbone, device))

    vectors = read_or_make(path, lambda target: _read(target, layer, len(images.pixels)), make)
    return vectors[images.positions].astype(np.float64)


def colour_statistics(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and standard deviation of each channel of `(n, H, W, C)`, as `(n, 2 C)`."""
    found: NDArray[np.float64] = ColourStatistics()(torch.from_numpy(images))[COLOUR].numpy()
    return found


def _pooled(
    pixels: NDArray[np.uint8], layers: Sequence[str], backbone: Backbone, device: str
) -> dict[str, NDArray[np.float32]]:
    """Per layer the mean over positions, `(n, C)`."""
    pooled = PooledLayers(build_extractor(backbone, layers))
    pooled.to(device)
    pooled.to(memory_format=torch.channels_last)
    chunks: dict[str, list[NDArray[np.float32]]] = {
        layer: [np.empty((0, backbone.architecture.channels(layer)), np.float32)]
        for layer in pooled.extractor.layers
    }
    for start in range(0, len(pixels), _CHUNK):
        batch = torch.from_numpy(np.array(pixels[start : start + _CHUNK])).to(device)
        with torch.inference_mode(), full_float32():
            vectors = pooled(batch)
        for layer, values in vectors.items():
            chunks[layer].append(values.cpu().numpy())
    return {layer: np.concatenate(parts) for layer, parts in chunks.items()}


def _read(path: Path, layer: str, count: int) -> NDArray[np.float32]:
    # Opened here, for numpy leaves a file open that is no zip file; of the layer it checks the sum.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        vectors: NDArray[np.float32] = stored[layer]
    if len(vectors) != count:
        raise ValueError(f"{len(vectors)} vectors of {count} images")
    return vectors


def _write(path: Path, vectors: Mapping[str, Any]) -> None:
    with atomic_path(path) as partial:
        np.savez(partial, **vectors)
