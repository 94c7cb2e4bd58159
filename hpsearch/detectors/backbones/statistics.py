"""Channel statistics μ and σ by which features are normalised (paper, section 3.1)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from dpa_core.features import LayerStatistics, full_float32
from dpa_core.tensor_files import read_tensors
from hpsearch.config.space import AXIS, OWN
from hpsearch.datasets.folders import images_in, reading
from hpsearch.datasets.pixels import Preprocessing, preprocess
from hpsearch.datasets.reading import read_image
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.backbones.weight_files import (
    statistics_of,
    statistics_tensors,
    write_tensors,
)
from hpsearch.errors import DataError, WeightsError
from hpsearch.io.cache import sole_writer
from hpsearch.io.processes import Progress, silent
from hpsearch.io.text import printable

STD_FLOOR = 0.01
"""Least σ of a channel, as a fraction of the root mean square σ of its layer."""

MAX_IMAGES = 2048  # of a study
MAX_NATURAL_IMAGES = 512  # a seeded choice where there are more
SIDES = (32, 224)  # px of natural images, least and most side; larger ones are scaled down


class _Moments:
    """Streaming mean and variance of each channel in float64 (Chan et al. 1979, parallel form)."""

    def __init__(self, channels: int, device: torch.device) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64, device=device)
        self.squares = torch.zeros_like(self.mean)  # sum of squared deviations from the mean

    def add(self, features: Tensor) -> None:
        """Take in a batch `(N, C, H, W)`."""
        count = features.numel() // features.shape[1]
        variance, mean = torch.var_mean(features.double(), dim=(0, 2, 3), correction=0)
        total, shift = self.count + count, mean - self.mean
        self.mean += shift * (count / total)
        self.squares += variance * count + shift**2 * (self.count * count / total)
        self.count = total

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and floored standard deviation, float32 on the CPU."""
        std = (self.squares / self.count).sqrt()
        layer = std.square().mean().sqrt()
        rounding = 1e-6 * self.mean.square().mean().sqrt()  # of float32 features, with a margin
        varies = layer > rounding
        floored = std.clamp_min(STD_FLOOR * float(layer)) if varies else torch.ones_like(std)
        return self.mean.float().cpu(), floored.float().cpu()


def natural_statistics(backbone: Backbone) -> LayerStatistics:
    """Those of the backbone over natural images.

    Raises:
        WeightsError: it has none.
    """
    if backbone.statistics is None:
        raise WeightsError(
            printable(
                f"backbone weights {backbone.source}: hold no channel statistics; give a folder of "
                f"natural images with --backbone-statistics, or take --axis {AXIS}={OWN} "
                f"({AXIS}='{OWN}')"
            )
        )
    return backbone.statistics


def compute_statistics(
    backbone: Backbone,
    images: NDArray[np.uint8],
    layers: Sequence[str],
    *,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    max_images: int = MAX_IMAGES,
    seed: int = 0,
) -> LayerStatistics:
    """Mean and standard deviation of each channel over images and places.

    A channel that is (nearly) constant over the images would be divided by (nearly) nothing, and
    its least stir in a later image would outweigh all others; σ is therefore at least `STD_FLOOR`
    times the root mean square σ of its layer, and 1 where the whole layer is constant.

    Args:
        backbone: the network.
        images: `(N, H, W, 1 or 3)`; a seeded choice of `max_images` when there are more.
        layers: names such as `("r32", "r42")`.
        batch_size: images at a time; memory grows with it, not with N.
        device: where to compute.
        max_images: most images that are looked at.
        seed: seeds that choice.

    Raises:
        SpecError, WeightsError: as `build_extractor`.
    """
    chosen = _seeded_choice(len(images), max_images, seed)
    starts = range(0, len(chosen), batch_size)
    batches = (images[chosen[start : start + batch_size]] for start in starts)
    return statistics_of_batches(backbone, batches, layers, device=device)


def statistics_of_batches(
    backbone: Backbone,
    batches: Iterable[NDArray[np.uint8]],
    layers: Sequence[str],
    *,
    device: torch.device | str = "cpu",
) -> LayerStatistics:
    """As `compute_statistics`, of batches `(N, H, W, 1 or 3)` that may differ in size."""
    extractor = build_extractor(backbone, layers).to(device)
    moments = {
        layer: _Moments(backbone.architecture.channels(layer), torch.device(device))
        for layer in extractor.layers
    }
    for batch in batches:
        pixels = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2)
        with torch.inference_mode(), full_float32():
            features = extractor(pixels.float() / 127.5 - 1)
        for layer, values in features.items():
            moments[layer].add(values)
    return {layer: moment.result() for layer, moment in moments.items()}


def cached_statistics(
    backbone: Backbone,
    images: NDArray[np.uint8],
    layers: Sequence[str],
    *,
    data_key: str,
    cache_dir: Path,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> LayerStatistics:
    """As `compute_statistics`, kept in `cache_dir` for the next time.

    Args:
        backbone: the network; its digest is part of the key.
        images: `(N, H, W, 1 or 3)`.
        layers: names of layers.
        data_key: tells one set of images from another, e.g. a fingerprint and a preprocessing.
        cache_dir: folder of the cache, made when missing.
        batch_size: images at a time.
        device: where to compute.

    Raises:
        SpecError, WeightsError: as `build_extractor`.
        DataError: `cache_dir` cannot be written.
    """
    parts = [backbone.digest, sorted(set(layers)), data_key, MAX_IMAGES, STD_FLOOR, "float32"]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    path = cache_dir / f"statistics-{key}.safetensors"
    return kept_statistics(
        path,
        layers,
        lambda: compute_statistics(backbone, images, layers, batch_size=batch_size, device=device),
    )


def kept_statistics(
    path: Path,
    layers: Sequence[str],
    compute: Callable[[], LayerStatistics],
    metadata: Mapping[str, str] | None = None,
) -> LayerStatistics:
    """Those of the file at `path`; where it is missing or damaged they are computed and kept.

    Raises:
        DataError: the file cannot be written.
    """
    found = _read(path, layers)
    if found is None:
        with sole_writer(path):
            found = _read(path, layers) or compute()
            write_tensors(path, statistics_tensors(found), metadata)
    return found


def statistics_of_folder(
    backbone: Backbone, folder: Path, *, cache_dir: Path, progress: Progress = silent
) -> Path:
    """File of the statistics of every layer that the weights reach, made where it is not there.

    Each image is cut to its central square and scaled down to 224 px where it is larger; that is
    the size at which networks of ImageNet are trained.

    Args:
        backbone: the network.
        folder: of images, also in folders below it.
        cache_dir: folder of the file, whose name follows from weights and images.
        progress: told of each image.

    Raises:
        DataError: no image, one that cannot be read or is too small, or `cache_dir` cannot be
            written.
    """
    with reading(folder):
        files = images_in(folder)
    if not files:
        raise DataError(
            f"{printable(folder)}: holds no image; name a folder of natural images for the "
            "channel statistics"
        )
    files = [files[position] for position in _seeded_choice(len(files), MAX_NATURAL_IMAGES)]
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise DataError(
                f"{printable(file)}: cannot be read ({error.strerror}); mend its permissions"
            ) from error
    content = digest.hexdigest()
    key = json.dumps([backbone.digest, content, SIDES, STD_FLOOR])
    path = cache_dir / f"natural-{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    kept_statistics(
        path,
        backbone.layers,
        lambda: statistics_of_batches(backbone, _natural_images(files, progress), backbone.layers),
        {"images": f"{len(files)} images of {printable(folder.name)} (sha256 {content[:12]})"},
    )
    return path


def _natural_images(files: Sequence[Path], progress: Progress) -> Iterator[NDArray[np.uint8]]:
    """Each image as a batch of its own `(1, S, S, 3)`."""
    least, most = SIDES
    for done, file in enumerate(files, start=1):
        image = read_image(file).convert("RGB")
        side = min(*image.size, most)
        if side < least:
            raise DataError(
                f"{printable(file)}: natural images must have {least} px a side or more, got "
                f"{image.width}x{image.height}; remove it"
            )
        yield np.array(preprocess(image, Preprocessing(side, fit="crop")))[np.newaxis]
        progress("channel statistics over natural images", done, len(files))


def _read(path: Path, layers: Sequence[str]) -> LayerStatistics | None:
    try:
        found = statistics_of(read_tensors(path))
    except (OSError, SafetensorError):  # absent or damaged: computed anew
        return None
    return found if found is not None and set(found) == set(layers) else None


def _seeded_choice(count: int, most: int, seed: int = 0) -> NDArray[np.intp]:
    """Positions of a seeded choice of at most `most` among `count`, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
