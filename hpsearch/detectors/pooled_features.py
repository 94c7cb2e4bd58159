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
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from dpa_core.batches import as_input
from dpa_core.errors import ConfigError
from dpa_core.features import Architecture, FeatureExtractor, full_float32
from dpa_core.tensor_files import Form
from hpsearch.config.space import Params, layers_of
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.base import ImageView, Setup, Training, require_choice
from hpsearch.detectors.feature_maps import rows_of
from hpsearch.detectors.outlier_models import OUTLIER_MODELS, Matrix, OutlierModel
from hpsearch.detectors.saved_tensors import damaged, load_tensors, save_tensors
from hpsearch.errors import SpecError, TaskError
from hpsearch.io.cache import read_or_make
from hpsearch.io.files import atomic_path

COLOUR_LAYER = "colour"
COLOUR_PERCENTILES = "colour_percentiles"
"""The names of colour statistics where a layer is named: mean and deviation of each channel, and
the same beside percentiles."""
PERCENTILES = (5, 25, 50, 75, 95)

MEAN, MEAN_STD = "mean", "mean_std"
POOLINGS = (MEAN, MEAN_STD)
"""What is kept of each channel of a layer: its mean over positions, or its deviation too."""

USUAL_LAYERS = ("r12", "r22", "r32", "r42")

COLOURS = {COLOUR_LAYER: 2, COLOUR_PERCENTILES: 2 + len(PERCENTILES)}  # numbers a channel
_IMAGES_A_PASS = 64


class FeaturesDetector:
    """An outlier score on one vector per image."""

    axes: ClassVar[Mapping[str, AxisChoices]] = {
        "kind": ("mahalanobis", "knn", "isolation_forest"),  # or lof, gmm, kde, ocsvm, pca
        "layer": USUAL_LAYERS,  # or several, such as `r32+r42`, whose vectors are joined
        "pooling": (MEAN,),  # of a channel over positions; or `mean_std`
    }
    cost: ClassVar[float] = 1.0

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.layers = layers_of(setup.params)
        self.pooling = str(setup.params.get("pooling", MEAN))  # studies of before the axis
        self.scaler = StandardScaler()
        self.model = self.outlier_model()
        self.normals: Matrix = np.empty((0, 0))

    @staticmethod
    def layer_axes(architecture: Architecture) -> Mapping[str, AxisChoices]:
        """Each of a VGG's usual layers; of others the last but one, two of the middle, and all."""
        names = architecture.layers
        if set(USUAL_LAYERS) <= set(names):
            return {"layer": USUAL_LAYERS}
        layers = (names[-2], "+".join(names[1:3]), "+".join(names))
        return {"layer": layers, "pooling": (MEAN_STD,)}

    @staticmethod
    def canonical(params: Params) -> Params:
        """Without the pooling of before there was a choice, which is all that colour can have."""
        no_choice = params.get("pooling") == MEAN or set(layers_of(params)) <= COLOURS.keys()
        return {axis: value for axis, value in params.items() if axis != "pooling" or not no_choice}

    @staticmethod
    def check(params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where a configuration cannot be built."""
        require_choice("kind", params["kind"], OUTLIER_MODELS)
        require_choice("pooling", params.get("pooling", MEAN), POOLINGS)
        layers = layers_of(params)
        if len(set(layers)) < len(layers):
            raise SpecError(f"space: layer {params['layer']!r:.80} names one twice")
        for layer in layers:
            if layer not in COLOURS:
                try:
                    architecture.depth(layer)
                except ConfigError as error:
                    raise SpecError(f"space: {error}, or colour, colour_percentiles") from None

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
        return Training.without_curve()

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
        in_network = [layer for layer in self.layers if layer not in COLOURS]
        extractor = build_extractor(self.setup.backbone, in_network) if in_network else None
        return PooledGraph(
            JoinedVectors(self.layers, extractor, self.pooling),
            torch.from_numpy(np.asarray(self.scaler.mean_)),
            torch.from_numpy(np.asarray(self.scaler.scale_)),
            self.model.network(),
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

    def outlier_model(self) -> OutlierModel:
        """What is fitted on the vectors."""
        return OUTLIER_MODELS[str(self.setup.params["kind"])](self.setup.seed)

    @property
    def _length(self) -> int:
        """Of the vector of an image."""
        architecture, n_colours = (
            self.setup.backbone.architecture,
            self.setup.normals.pixels.shape[3],
        )
        return sum(
            COLOURS[layer] * n_colours
            if layer in COLOURS
            else (1 + (self.pooling == MEAN_STD)) * architecture.channels(layer)
            for layer in self.layers
        )

    def _vectors(self, images: ImageView) -> Matrix:
        return joined_features(images, self.layers, self.pooling, self.setup)


def joined_features(
    images: ImageView, layers: Sequence[str], pooling: str, setup: Setup
) -> NDArray[np.float64]:
    """The vectors of several layers side by side, `(n, F)`; see `pooled_features`.

    Raises:
        TaskError: they are not finite.
    """
    found = [
        pooled_features(
            images,
            layer,
            setup.backbone,
            pooling=pooling,
            device=setup.device,
            cache_dir=setup.cache_dir,
        )
        for layer in layers
    ]
    vectors = np.concatenate(found, axis=1)
    if not np.isfinite(vectors).all():
        raise TaskError("non_finite", f"features of {'+'.join(layers)} are not finite")
    return vectors


def pooled_features(
    images: ImageView,
    layer: str,
    backbone: Backbone,
    *,
    pooling: str = MEAN,
    device: str,
    cache_dir: Path,
) -> NDArray[np.float64]:
    """Feature vectors `(n, F)`.

    Args:
        images: which images.
        layer: one of the network, or one of colour statistics.
        backbone: the network of the layers.
        pooling: of the channels of a layer over its positions.
        device: where the network runs.
        cache_dir: folder that keeps the vectors of all images of the variant, where it has a key.
    """
    if layer in COLOURS:
        parts = [
            colour_statistics(rows_of(images.pixels, rows), layer)
            for rows in np.split(
                images.positions, range(_IMAGES_A_PASS, len(images), _IMAGES_A_PASS)
            )
        ]
        return np.concatenate(parts)
    if images.key is None:
        found = _pooled(images.array(), (layer,), pooling, backbone, device)
        return found[layer].astype(np.float64)
    layers = _computed_together(layer, backbone.architecture.layers)
    named = [backbone.digest, layers, images.key, "float32"]
    key = json.dumps(named if pooling == MEAN else [*named, pooling])
    path = cache_dir / "pooled" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    known = [name for name in layers if name in backbone.architecture.layers]

    def make(target: Path) -> None:
        with atomic_path(target) as partial:
            vectors = _pooled(images.pixels, known or layers, pooling, backbone, device)
            np.savez(partial, **vectors)  # type: ignore[arg-type]

    def read(source: Path) -> NDArray[np.float32]:
        # Opened here, for numpy leaves a file open that is no zip file; it checks the layer's sum.
        with source.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            vectors: NDArray[np.float32] = stored[layer]
        if len(vectors) != len(images.pixels):
            raise ValueError(f"{len(vectors)} vectors of {len(images.pixels)} images")
        return vectors

    return read_or_make(path, read, make)[images.positions].astype(np.float64)


def colour_statistics(images: NDArray[np.uint8], layer: str = COLOUR_LAYER) -> Matrix:
    """Statistics of each channel of `(n, H, W, C)`, as `(n, F)`."""
    found: Matrix = ColourStatistics(layer)(torch.from_numpy(images)).numpy()
    return found


def _computed_together(layer: str, names: Sequence[str]) -> tuple[str, ...]:
    """The layers whose vectors come out of one pass, so that a search over them costs no more."""
    if layer in USUAL_LAYERS:
        return USUAL_LAYERS
    return (layer,) if set(USUAL_LAYERS) & set(names) else tuple(names)


def _pooled(
    pixels: NDArray[np.uint8],
    layers: Sequence[str],
    pooling: str,
    backbone: Backbone,
    device: str,
) -> dict[str, NDArray[np.float32]]:
    """Per layer the vectors `(n, F)`."""
    pooled = PooledLayers(build_extractor(backbone, layers), pooling)
    pooled.to(device)
    pooled.to(memory_format=torch.channels_last)
    chunks: dict[str, list[NDArray[np.float32]]] = {layer: [] for layer in pooled.extractor.layers}
    for start in range(0, max(1, len(pixels)), _IMAGES_A_PASS):  # of none, for the shapes
        rows = np.arange(start, min(start + _IMAGES_A_PASS, len(pixels)))
        batch = torch.from_numpy(rows_of(pixels, rows)).to(device)
        with torch.inference_mode(), full_float32():
            vectors = pooled(batch)
        for layer, values in vectors.items():
            chunks[layer].append(values.cpu().numpy())
    return {layer: np.concatenate(parts) for layer, parts in chunks.items()}


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
        scores: Tensor = self.distance(
            (self.vectors(images) - self.get_buffer("mean")) / self.get_buffer("scale")
        )
        return scores


class JoinedVectors(nn.Module):
    """The vectors of several layers side by side.

    Args:
        layers: of the network or of colour, in the order in which they are joined.
        extractor: of those that are of the network; None where there are none.
        pooling: of their channels.
    """

    def __init__(
        self, layers: Sequence[str], extractor: FeatureExtractor | None, pooling: str
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.pooled = None if extractor is None else PooledLayers(extractor, pooling)
        self.colours = nn.ModuleDict(
            {layer: ColourStatistics(layer) for layer in layers if layer in COLOURS}
        )

    def forward(self, images: Tensor) -> Tensor:
        """float64 `(N, F)` of uint8 `(N, S, S, C)`."""
        found: dict[str, Tensor] = {} if self.pooled is None else self.pooled(images)
        found = found | {layer: colour(images) for layer, colour in self.colours.items()}
        return torch.cat([found[layer].double() for layer in self.layers], dim=1)


class PooledLayers(nn.Module):
    """The features of some layers, pooled over positions."""

    def __init__(self, extractor: FeatureExtractor, pooling: str = MEAN) -> None:
        super().__init__()
        self.extractor = extractor
        self.pooling = pooling

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Per layer `(N, F)` of uint8 `(N, S, S, C)`: all means, then all deviations."""
        features = self.extractor(as_input(images))
        vectors = {layer: values.mean(dim=(2, 3)).float() for layer, values in features.items()}
        if self.pooling == MEAN:
            return vectors
        return {
            layer: torch.cat([mean, features[layer].std(dim=(2, 3), correction=0).float()], dim=1)
            for layer, mean in vectors.items()
        }


class ColourStatistics(nn.Module):
    """Mean and standard deviation of each channel, and perhaps percentiles, of one image each."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        """`(N, F)` of uint8 `(N, S, S, C)`."""
        values = images.double() / 255
        found = [values.mean(dim=(1, 2)), values.std(dim=(1, 2), correction=0)]
        if self.layer == COLOUR_PERCENTILES:
            ascending, _ = values.flatten(1, 2).sort(dim=1)
            last = ascending.shape[1] - 1
            found += [ascending[:, round(share / 100 * last)] for share in PERCENTILES]
        return torch.cat(found, dim=1)
