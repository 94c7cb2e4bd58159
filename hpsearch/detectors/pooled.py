"""One feature vector per image, computed once for a stored image variant and cached."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpa_core.precision import full_float32
from hpsearch.backbones.backbone import Backbone
from hpsearch.backbones.extractor import build_extractor
from hpsearch.cache import read_or_make
from hpsearch.detectors.base import ImageView
from hpsearch.detectors.pooled_graph import COLOUR, ColourStatistics, PooledLayers
from hpsearch.files import atomic_path

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
