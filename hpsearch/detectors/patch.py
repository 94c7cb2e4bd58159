"""The detector `patch`: how far the features at each position are from those of normal images.

A position is one vector: the layers asked for, each averaged over 3x3 of its own positions and
brought to the grid of the finest (PatchCore, Roth et al. 2022, arXiv 2106.08265, section 3.1). The
score of an image is a pool of the distances of its positions.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from dpa_core.batches import as_input, centre_crop
from dpa_core.features import Architecture, FeatureExtractor
from dpa_core.score import POOLS, pooled
from dpa_core.tensor_files import Form
from hpsearch.config.space import Params, layers_of
from hpsearch.config.spec import AxisChoices, TrainingSpec
from hpsearch.detectors.backbones.backbone import build_extractor
from hpsearch.detectors.base import ImageView, Setup, Training, require_choice, require_layers
from hpsearch.detectors.feature_maps import FeatureMaps, is_kept
from hpsearch.detectors.patch_models import (
    GaussianPatches,
    NearestPatch,
    ReweightedMaximum,
    coreset,
    gaussian_of_each_position,
    one_gaussian,
)
from hpsearch.detectors.saved_tensors import damaged, load_tensors, save_tensors
from hpsearch.errors import SpecError, TaskError
from hpsearch.io.cache import read_or_make
from hpsearch.io.files import atomic_path

NEAREST, GAUSSIAN_POSITION, GAUSSIAN = "nearest", "gaussian_position", "gaussian"
KINDS = (NEAREST, GAUSSIAN_POSITION, GAUSSIAN)
MOST_BYTES_OF_DISTANCES = 256 * 2**20
"""Of the images that one training scores; more are not kept."""

_VGG_LAYERS = ("r22", "r32", "r42")
_DRAWN = 32_000  # positions of the training images that a memory or one Gaussian is made of
_POSITIONS_AT_A_TIME = 2048  # that are scored
_IMAGES_A_POOLING = 256  # whose distances are in memory
_OF_THE_POOL = ("pool", "reweight")  # axes that the distances do not hang on
_CHANNELS = 100  # drawn for a Gaussian of each position, as in PaDiM
_SMOOTHING = 1 / 64  # deviation of the blur of a map, of its side: 4 px of 256 in PaDiM


class PatchDetector:
    """Distances of positions from a memory, or under one or many Gaussians, pooled."""

    axes: ClassVar[Mapping[str, AxisChoices]] = {
        "kind": KINDS,
        "layer": ("r22", "r22+r32", "r32+r42"),
        "pool": tuple(POOLS),
        "coreset": (0.1,),  # share of the drawn positions that the memory of `nearest` keeps
        "reweight": (False,),  # of the maximum of `nearest`, by how dense the memory is there
    }
    cost: ClassVar[float] = 3.0

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        params = setup.params
        self.kind = str(params["kind"])
        self.pool = str(params["pool"])
        self.reweight = bool(params["reweight"])
        self.resolution = int(params["resolution"])
        self.layers = layers_of(params)
        self.maps_of_layers = FeatureMaps(
            setup.backbone,
            self.layers,
            _usual_layers(setup.backbone.architecture),
            resolution=self.resolution,
            device=setup.device,
            cache_dir=setup.cache_dir,
        )
        self.vectors = PatchVectors(self.layers)
        self.train: ImageView | None = None
        self.model: NearestPatch | GaussianPatches | None = None

    @staticmethod
    def layer_axes(architecture: Architecture) -> Mapping[str, AxisChoices]:
        """Of a VGG one layer and two neighbours; of another network its last but one, and two."""
        first, second, *rest = _usual_layers(architecture)
        if not rest:
            return {"layer": (f"{first}+{second}", second)}
        return {"layer": (first, f"{first}+{second}", f"{second}+{rest[0]}")}

    @staticmethod
    def canonical(params: Params) -> Params:
        """What a Gaussian, or another pool than the maximum, does not read is at its default."""
        is_nearest = params["kind"] == NEAREST
        coreset_, reweight = (PatchDetector.axes[axis][0] for axis in ("coreset", "reweight"))
        return {
            **params,
            "coreset": params["coreset"] if is_nearest else coreset_,
            "reweight": params["reweight"] if is_nearest and params["pool"] == "max" else reweight,
        }

    @staticmethod
    def check(params: Params, architecture: Architecture, training: TrainingSpec) -> None:
        """Raise SpecError where a configuration cannot be built."""
        require_choice("kind", params["kind"], KINDS)
        require_choice("pool", params["pool"], tuple(POOLS))
        if not 0.001 <= float(params["coreset"]) <= 0.25:
            raise SpecError(f"space: coreset must be from 0.001 to 0.25, got {params['coreset']}")
        require_layers(params, architecture)

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
        """Take all of `train`; nothing is iterated, so the other arguments do not matter.

        The model is fitted when it is first needed: of configurations that differ in their pool
        alone, the later ones find the distances of the first and need none.
        """
        self.train, self.model = train, None
        return Training.without_curve()

    def score(self, images: ImageView) -> NDArray[np.float64]:
        """The pooled distances, `(n,)`."""
        path = None if self._reweights() else self._stored_distances(images)
        if path is None:
            return self._outputs(images, self._scorer(), ()).astype(np.float64)
        distances = np.load(path, mmap_mode="r")
        scores = np.empty(len(images))
        for start in range(0, len(images), _IMAGES_A_POOLING):
            part = torch.from_numpy(np.array(distances[start : start + _IMAGES_A_POOLING]))
            scores[start : start + len(part)] = pooled(part, self.pool).numpy()
        return scores

    def maps(self, images: ImageView) -> NDArray[np.float32]:
        """The distances at each pixel, up-sampled bilinearly and blurred a little."""
        side = self.resolution
        found, model = [np.empty((0, side, side), np.float32)], self.fitted
        with torch.no_grad():
            for vectors in self._batches(images):
                distances = torch.cat([model(part) for part in _few_positions(vectors)])
                pixels = interpolate(distances[:, None], size=(side, side), mode="bilinear")[:, 0]
                sigma = _SMOOTHING * side
                found.append(gaussian_filter(pixels.cpu().numpy(), (0, sigma, sigma)))
        return np.concatenate(found)

    def graph(self) -> nn.Module:
        """Frozen network, vectors, distances and pool as one network."""
        extractor = build_extractor(self.setup.backbone, self.layers)
        scores = self._scorer()
        return PatchGraph(extractor, self.resolution, self.vectors, scores)

    def save(self, folder: Path) -> None:
        """The memory or the Gaussians, and which channels they are of."""
        names = ("memory",) if self.kind == NEAREST else ("location", "whitening")
        tensors = {name: self.fitted.get_buffer(name) for name in names}
        if self.kind == GAUSSIAN_POSITION:
            tensors["channels"] = self.vectors.get_buffer("channels")
        save_tensors(folder, tensors)

    @classmethod
    def load(cls, folder: Path, setup: Setup) -> "PatchDetector":
        """The fitted detector again.

        Raises:
            WeightsError: the file is damaged, or is not of this configuration.
        """
        detector = cls(setup)
        n_channels = sum(map(setup.backbone.architecture.channels, detector.layers))
        if detector.kind == NEAREST:
            tensors = load_tensors(folder, {"memory": Form((None, n_channels))})
            detector.model = NearestPatch(tensors["memory"])
        elif detector.kind == GAUSSIAN:
            forms = {
                "location": Form((1, n_channels)),
                "whitening": Form((1, n_channels, n_channels)),
            }
            tensors = load_tensors(folder, forms)
            detector.model = GaussianPatches(tensors["location"], tensors["whitening"])
        else:
            n_drawn, n_positions = min(_CHANNELS, n_channels), math.prod(detector._grid())
            forms = {
                "channels": Form((n_drawn,), (torch.int64,)),
                "location": Form((n_positions, n_drawn)),
                "whitening": Form((n_positions, n_drawn, n_drawn)),
            }
            tensors = load_tensors(folder, forms)
            channels = tensors["channels"]
            if not ((channels >= 0) & (channels < n_channels)).all():
                raise damaged(folder, "holds channels that the layers do not have")
            detector.vectors = PatchVectors(detector.layers, channels)
            detector.model = GaussianPatches(tensors["location"], tensors["whitening"])
        detector.model.to(setup.device)
        return detector

    @property
    def fitted(self) -> "NearestPatch | GaussianPatches":
        """The model, which is fitted here where nobody has asked for it before."""
        if self.model is None:
            if self.train is None:
                raise ValueError("the detector is not fitted yet; call fit first")
            self.model = self._model_of(self.train)
            self.model.to(self.setup.device)
        return self.model

    def _model_of(self, train: ImageView) -> "NearestPatch | GaussianPatches":
        seed = self.setup.seed
        rng = np.random.default_rng(seed)
        if self.kind == GAUSSIAN_POSITION:
            n_channels = sum(map(self.setup.backbone.architecture.channels, self.layers))
            drawn = rng.choice(n_channels, min(_CHANNELS, n_channels), replace=False)
            self.vectors = PatchVectors(self.layers, torch.from_numpy(np.sort(drawn)))
            return gaussian_of_each_position(self._batches(train))
        vectors = self._drawn(train, rng)
        if self.kind == GAUSSIAN:
            return one_gaussian(vectors)
        n = max(1, round(float(self.setup.params["coreset"]) * len(vectors)))
        return NearestPatch(vectors[coreset(vectors, n, seed=seed)])

    def _reweights(self) -> bool:
        return self.reweight and self.pool == "max" and self.kind == NEAREST

    def _scorer(self) -> nn.Module:
        """From vectors `(N, H, W, C)` to scores `(N,)`."""
        if self._reweights() and isinstance(self.fitted, NearestPatch):
            return ReweightedMaximum(self.fitted).to(self.setup.device)
        return PooledDistances(self.fitted, self.pool)

    def _outputs(
        self, images: ImageView, network: nn.Module, shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        """What a network says of the vectors of each image, `(n, *shape)`."""
        found = np.empty((len(images), *shape), np.float32)
        done = 0
        for vectors in self._batches(images):
            for part in _few_positions(vectors):
                with torch.no_grad():
                    found[done : done + len(part)] = network(part).cpu().numpy()
                done += len(part)
        return found

    def _stored_distances(self, images: ImageView) -> Path | None:
        """The file of the distances `(n, H, W)` of stored images, from which each pool is read.

        None where they are not kept: where the images or those of the training have no key, or
        there are too many positions.
        """
        setup, train = self.setup, self.train
        if train is None or train.key is None or images.key is None:
            return None
        alike = {axis: value for axis, value in setup.params.items() if axis not in _OF_THE_POOL}
        views = [(view.key, view.positions.tolist()) for view in (train, images)]
        what = json.dumps([alike, setup.backbone.digest, setup.seed, views], sort_keys=True)
        name = f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.npy"
        path, grid = setup.cache_dir / "distances" / name, self._grid()

        def read(source: Path) -> Path:
            shape = np.load(source, mmap_mode="r", allow_pickle=False).shape
            if shape != (len(images), *grid):
                raise ValueError(f"distances {shape} of {len(images)} images")
            return source

        def make(target: Path) -> None:
            distances = self._outputs(images, self.fitted, grid)
            with atomic_path(target) as partial, partial.open("wb") as file:
                np.save(file, distances)

        if not is_kept(path, 4 * len(images) * math.prod(grid), most=MOST_BYTES_OF_DISTANCES):
            return None
        return read_or_make(path, read, make)

    def _grid(self) -> tuple[int, int]:
        """Rows and columns of the positions of the finest layer."""
        side = self.resolution
        with torch.no_grad():
            image = torch.zeros(1, 3, side, side, device=self.setup.device)
            maps = self.maps_of_layers.extractor(self.layers)(image)
        rows, columns = max(tuple(maps[layer].shape[-2:]) for layer in self.layers)
        return rows, columns

    def _batches(self, images: ImageView) -> Iterator[Tensor]:
        """The vectors `(n, H, W, C)` of the next few images.

        Raises:
            TaskError: they are not finite.
        """
        self.vectors.to(self.setup.device)
        for maps in self.maps_of_layers.batches(images):
            with torch.no_grad():
                vectors = self.vectors(maps)
            if not torch.isfinite(vectors.sum()):  # of one number, which is sooner told
                raise TaskError("non_finite", f"features of {'+'.join(self.layers)} are not finite")
            yield vectors

    def _drawn(self, train: ImageView, rng: np.random.Generator) -> Tensor:
        """Vectors `(M, C)` of random positions, as many of each image, `_DRAWN` at most."""
        if len(train) > _DRAWN:
            kept = np.sort(rng.choice(len(train), _DRAWN, replace=False))
            train = ImageView(train.pixels, train.positions[kept], train.key)
        drawn = torch.empty(0)
        done = 0
        for batch in self._batches(train):
            positions = batch.flatten(1, 2)  # (n, P, C)
            n = min(positions.shape[1], _DRAWN // len(train))
            if done == 0:  # at once, or small pieces would lie between the batches in memory
                drawn = positions.new_empty((n * len(train), positions.shape[2]))
            order = rng.random(positions.shape[:2]).argsort(axis=1)[:, :n]
            where = torch.from_numpy(order).to(positions.device)
            chosen = positions.take_along_dim(where[:, :, None], dim=1).flatten(0, 1)
            drawn[done : done + len(chosen)] = chosen
            done += len(chosen)
        return drawn


def _usual_layers(architecture: Architecture) -> tuple[str, ...]:
    """The layers that a study is likely to ask for, from the finest."""
    names = architecture.layers
    return _VGG_LAYERS if set(_VGG_LAYERS) <= set(names) else tuple(names[-3:-1])


def _few_positions(vectors: Tensor) -> tuple[Tensor, ...]:
    """A batch in parts whose distances to a memory fit the cache of a processor."""
    return torch.split(
        vectors, max(1, _POSITIONS_AT_A_TIME // (vectors.shape[1] * vectors.shape[2]))
    )


class PatchVectors(nn.Module):
    """From the maps of some layers to one vector a position.

    Args:
        layers: in the order in which their channels are joined.
        channels: `(C,)`, which of the joined channels are kept; None for all.
    """

    channels: Tensor | None

    def __init__(self, layers: tuple[str, ...], channels: Tensor | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("channels", channels)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """`(N, H, W, C)` of `(N, C_l, H_l, W_l)` a layer; H, W are those of the finest."""
        grid = max(tuple(maps[layer].shape[-2:]) for layer in self.layers)
        joined = []
        for layer in self.layers:
            means = avg_pool2d(maps[layer], 3, stride=1, padding=1, count_include_pad=False)
            is_finest = means.shape[-2:] == grid
            joined.append(means if is_finest else interpolate(means, size=grid, mode="bilinear"))
        vectors = torch.cat(joined, dim=1).permute(0, 2, 3, 1)
        return vectors if self.channels is None else vectors.index_select(3, self.channels)


class PooledDistances(nn.Module):
    """The pool of the distances of an image's positions."""

    def __init__(self, distances: nn.Module, pool: str) -> None:
        super().__init__()
        self.distances = distances
        self.pool = pool

    def forward(self, vectors: Tensor) -> Tensor:
        """`(N,)` of `(N, H, W, C)`."""
        return pooled(self.distances(vectors), self.pool)


class PatchGraph(nn.Module):
    """From pixels to the score.

    Args:
        extractor: the frozen network.
        resolution: side in px of the central part that is scored.
        vectors: maps to vectors.
        scores: vectors to scores.
    """

    def __init__(
        self, extractor: FeatureExtractor, resolution: int, vectors: PatchVectors, scores: nn.Module
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.resolution = resolution
        self.vectors = vectors
        self.scores = scores

    def forward(self, images: Tensor) -> Tensor:
        """Scores `(N,)` of uint8 `(N, S, S, C)`."""
        maps = self.extractor(as_input(centre_crop(images, self.resolution)))
        scores: Tensor = self.scores(self.vectors(maps))
        return scores
