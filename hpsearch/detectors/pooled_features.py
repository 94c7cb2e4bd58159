"""The detector `features`: outlier scores on pooled features, no training, and hard to beat.

An image is one vector, computed once for a stored image variant and cached, and its score is the
distance of that vector from those of normal images.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from dpa_core.batches import as_input
from dpa_core.errors import ConfigError
from dpa_core.features import Architecture, FeatureExtractor, full_float32
from dpa_core.tensor_files import Form
from hpsearch.config.space import Params
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.base import (
    CURVE_COLUMNS,
    ImageView,
    Setup,
    Training,
    damaged,
    load_tensors,
    save_tensors,
)
from hpsearch.detectors.outlier_models import OUTLIER_MODELS, Matrix, OutlierModel
from hpsearch.errors import SpecError, TaskError
from hpsearch.io.cache import read_or_make
from hpsearch.io.files import atomic_path

COLOUR_LAYER = "colour"
"""The name of colour statistics where a layer is named."""

USUAL_LAYERS = ("r12", "r22", "r32", "r42")

_IMAGES_A_PASS = 64


class FeaturesDetector:
    """Mahalanobis distance, nearest neighbours or isolation forest on one vector per image."""

    axes: ClassVar[Mapping[str, AxisChoices]] = {
        "kind": ("mahalanobis", "knn", "isolation_forest"),
        "layer": USUAL_LAYERS,
    }

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.layer = str(setup.params["layer"])
        self.kind = str(setup.params["kind"])
        self.scaler = StandardScaler()
        self.model: OutlierModel = OUTLIER_MODELS[self.kind](setup.seed)
        self.normals: Matrix = np.empty((0, 0))

    @staticmethod
    def check(params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where a configuration cannot be built."""
        if params["kind"] not in OUTLIER_MODELS:
            raise SpecError(
                f"space: kind must be one of {', '.join(OUTLIER_MODELS)}, got {params['kind']!r}"
            )
        if params["layer"] != COLOUR_LAYER:
            try:
                architecture.depth(str(params["layer"]))
            except ConfigError as error:
                raise SpecError(f"space: {error}, or colour") from None

    @staticmethod
    def size(params: Params) -> None:
        """There is no bottleneck."""

    def fit(
        self,
        train: ImageView,
        early_stop: ImageView | None,
        *,
        max_steps: int,
        checkpoints: Path | None = None,
    ) -> Training:
        """Fit on all of `train`; nothing is iterated, so the other arguments do not matter."""
        self.normals = self.scaler.fit_transform(self._vectors(train))
        self.model.fit(self.normals)
        return Training(0, None, pd.DataFrame(columns=list(CURVE_COLUMNS)))

    def score(self, images: ImageView) -> Matrix:
        """Distance from the normal images, `(n,)`."""
        return self.model.score(self.scaler.transform(self._vectors(images)))

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """Refused: the vectors are means over the whole image."""
        raise SpecError(
            "maps: the detector features gives one score an image and no maps; leave them out, "
            "or take a model of the detector dpa"
        )

    def graph(self) -> nn.Module:
        """Frozen network, pooling and distance as one network; a forest is none."""
        distance = self.model.network()
        if self.layer == COLOUR_LAYER:
            vectors: nn.Module = ColourStatistics()
        else:
            vectors = PooledLayers(build_extractor(self.setup.backbone, (self.layer,)))
        return PooledGraph(
            vectors,
            torch.from_numpy(np.asarray(self.scaler.mean_)),
            torch.from_numpy(np.asarray(self.scaler.scale_)),
            distance,
        )

    def save(self, folder: Path) -> None:
        """The scaled training vectors, from which the model is fitted again in seconds."""
        arrays = {
            "normals": self.normals,
            "mean": np.asarray(self.scaler.mean_),
            "scale": np.asarray(self.scaler.scale_),
        }
        save_tensors(folder, {name: torch.from_numpy(array) for name, array in arrays.items()})

    @classmethod
    def load(cls, folder: Path, setup: Setup) -> "FeaturesDetector":
        """The detector fitted again on the vectors that it was fitted on.

        Raises:
            WeightsError: the file is damaged, or is not of this configuration.
        """
        detector = cls(setup)
        forms = {
            name: Form(shape, (torch.float64,))
            for name, shape in (
                ("normals", (None, detector._length)),
                ("mean", (detector._length,)),
                ("scale", (detector._length,)),
            )
        }
        arrays = {name: value.numpy() for name, value in load_tensors(folder, forms).items()}
        if not (arrays["scale"] > 0).all():
            raise damaged(folder, "holds a scale that is not above 0")
        detector.normals = arrays["normals"]
        detector.scaler.mean_, detector.scaler.scale_ = arrays["mean"], arrays["scale"]
        try:
            detector.model.fit(detector.normals)
        except ValueError as error:  # a seed that scikit-learn does not take
            raise damaged(folder, f"cannot be fitted again ({error})") from error
        return detector

    @property
    def _length(self) -> int:
        """Of the vector of an image."""
        if self.layer == COLOUR_LAYER:
            return 2 * int(self.setup.normals.pixels.shape[3])
        return self.setup.backbone.architecture.channels(self.layer)

    def _vectors(self, images: ImageView) -> Matrix:
        vectors = pooled_features(
            images,
            self.layer,
            self.setup.backbone,
            device=self.setup.device,
            cache_dir=self.setup.cache_dir,
        )
        if not np.isfinite(vectors).all():
            raise TaskError("non_finite", f"features of {self.layer} are not finite")
        return vectors


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
    if layer == COLOUR_LAYER:
        return colour_statistics(images.array())
    if images.key is None:
        return _pooled(images.array(), (layer,), backbone, device)[layer].astype(np.float64)
    # The usual layers come out of one pass, so that a search over layers costs no more than one.
    layers = USUAL_LAYERS if layer in USUAL_LAYERS else (layer,)
    key = json.dumps([backbone.digest, layers, images.key, "float32"])
    path = cache_dir / "pooled" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    known = [name for name in layers if name in backbone.architecture.layers]

    def make(target: Path) -> None:
        with atomic_path(target) as partial:
            np.savez(partial, **_pooled(images.pixels, known or layers, backbone, device))  # type: ignore[arg-type]

    def read(source: Path) -> NDArray[np.float32]:
        # Opened here, for numpy leaves a file open that is no zip file; it checks the layer's sum.
        with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            vectors: NDArray[np.float32] = stored[layer]
        if len(vectors) != len(images.pixels):
            raise ValueError(f"{len(vectors)} vectors of {len(images.pixels)} images")
        return vectors

    return read_or_make(path, read, make)[images.positions].astype(np.float64)


def colour_statistics(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and standard deviation of each channel of `(n, H, W, C)`, as `(n, 2 C)`."""
    found: NDArray[np.float64] = ColourStatistics()(torch.from_numpy(images))[COLOUR_LAYER].numpy()
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
    for start in range(0, len(pixels), _IMAGES_A_PASS):
        batch = torch.from_numpy(np.array(pixels[start : start + _IMAGES_A_PASS])).to(device)
        with torch.inference_mode(), full_float32():
            vectors = pooled(batch)
        for layer, values in vectors.items():
            chunks[layer].append(values.cpu().numpy())
    return {layer: np.concatenate(parts) for layer, parts in chunks.items()}


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
        return {COLOUR_LAYER: torch.cat(both, dim=1)}
