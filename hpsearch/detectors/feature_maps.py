"""The feature maps of stored images: computed once for a whole study, read a few images at a time.

All layers that the study is likely to ask for come out of one pass of the network and lie in one
file, a record an image, so that every kind, combination of layers, fold and worker reads the same.
What is too large to keep, and images that come once, are computed each time. Neither way are the
maps of more than a few images in memory.
"""

import hashlib
import json
import mmap
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.batches import as_input, centre_crop
from dpa_core.features import FeatureExtractor, full_float32
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.base import ImageView
from hpsearch.io.cache import read_or_make
from hpsearch.io.files import atomic_path

MOST_BYTES = 8 * 2**30
"""Of the maps of one network and image variant; larger ones are not kept."""

_SPARE_BYTES = 2 * 2**30  # of the disk, left to others
_PIXELS_A_PASS = 2**18  # 64 images of 64 px


class FeatureMaps:
    """The maps of some layers of one frozen network, of the central part of each image.

    Args:
        backbone: the network.
        layers: those that are asked for.
        usual: those that a study may ask for, which are kept together; where `layers` has others
            too, it is kept by itself.
        resolution: side R in px of the central part.
        device: where the network runs.
        cache_dir: folder that keeps the maps of images that have a key.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[str],
        usual: Sequence[str],
        *,
        resolution: int,
        device: str,
        cache_dir: Path,
    ) -> None:
        self.backbone = backbone
        self.layers = tuple(layers)
        self.kept = tuple(usual) if set(layers) <= set(usual) else tuple(sorted(layers))
        self.resolution = resolution
        self.device = device
        self.cache_dir = cache_dir
        self._extractors: dict[tuple[str, ...], FeatureExtractor] = {}

    def batches(self, images: ImageView) -> Iterator[dict[str, Tensor]]:
        """Per layer `(n, C, H, W)` of the next few images, on the device.

        Raises:
            DataError: the maps could not be written to the cache.
        """
        size = images_a_pass(self.resolution)
        path = None if images.key is None else self._stored(images)
        if path is None:
            extractor = self.extractor(self.layers)
            for start in range(0, len(images), size):
                yield self._computed(
                    extractor, rows_of(images.pixels, images.positions[start : start + size])
                )
            return
        records = np.load(path, mmap_mode="r")
        for start in range(0, len(images), size):
            found = rows_of(records, images.positions[start : start + size])
            yield {
                layer: torch.from_numpy(np.ascontiguousarray(found[layer]))
                .to(self.device)
                .float()
                .permute(0, 3, 1, 2)
                for layer in self.layers
            }

    def _stored(self, images: ImageView) -> Path | None:
        """The file of the maps of all images of the variant; None where it would be too large."""
        n = len(images.pixels)
        extractor = self.extractor(self.kept)
        shapes = self._computed(extractor, rows_of(images.pixels, np.arange(min(n, 1))))
        record = np.dtype(
            [
                (layer, np.float32, tuple(maps.shape[i] for i in (2, 3, 1)))
                for layer, maps in shapes.items()
            ]
        )
        key = json.dumps([self.backbone.digest, self.kept, self.resolution, images.key, "float32"])
        folder = self.cache_dir / "maps"
        path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"

        def read(source: Path) -> Path:
            found = np.load(source, mmap_mode="r", allow_pickle=False)
            if found.dtype != record or found.shape != (n,):
                raise ValueError(f"{found.shape} maps of {n} images")
            return source

        def make(target: Path) -> None:
            header = {"descr": npy.dtype_to_descr(record), "fortran_order": False, "shape": (n,)}
            size = images_a_pass(self.resolution)
            with atomic_path(target) as partial, partial.open("wb") as file:
                npy.write_array_header_2_0(file, header)
                for start in range(0, n, size):
                    rows = np.arange(start, min(start + size, n))
                    maps = self._computed(extractor, rows_of(images.pixels, rows))
                    records = np.empty(len(rows), record)
                    for layer, values in maps.items():
                        records[layer] = values.permute(0, 2, 3, 1).cpu().numpy()
                    file.write(records.data)

        if not is_kept(path, n * record.itemsize, most=MOST_BYTES):
            return None
        return read_or_make(path, read, make)

    def extractor(self, layers: tuple[str, ...]) -> FeatureExtractor:
        """Of these layers, built once, for that takes longer than a few images."""
        if layers not in self._extractors:
            extractor = build_extractor(self.backbone, layers).to(self.device)
            self._extractors[layers] = extractor.to(memory_format=torch.channels_last)
        return self._extractors[layers]

    def _computed(
        self, extractor: FeatureExtractor, pixels: NDArray[np.uint8]
    ) -> dict[str, Tensor]:
        batch = torch.from_numpy(pixels).to(self.device)
        with torch.no_grad(), full_float32():
            maps: dict[str, Tensor] = extractor(as_input(centre_crop(batch, self.resolution)))
            return maps


def is_kept(path: Path, n_bytes: int, *, most: int) -> bool:
    """Whether a file of the cache is there, or may be made: small enough, with room to spare."""
    if path.exists():
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    return n_bytes <= most and shutil.disk_usage(path.parent).free >= n_bytes + _SPARE_BYTES


def images_a_pass(resolution: int) -> int:
    """How many images of a side in px are held at a time."""
    return max(1, min(64, _PIXELS_A_PASS // resolution**2))


def rows_of(array: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Some rows, in memory.

    A whole memory map is opened anew for them: what was read of a mapping counts as memory of the
    process for as long as it stands.
    """
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
        array = np.memmap(array.filename, array.dtype, "r", array.offset, array.shape)
    return np.array(array[rows])
