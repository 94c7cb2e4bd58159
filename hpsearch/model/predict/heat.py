"""Maps as pictures: heat alone, and heat over the image."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpsearch.io.files import atomic_path
from hpsearch.model.model import AnyModel
from hpsearch.model.predict.inputs import Decoded

# From dark to light, so that it reads without colours too: black, violet, red, orange, pale yellow.
_ANCHORS = np.array(
    [[0, 0, 4], [80, 18, 123], [183, 55, 84], [252, 140, 30], [252, 254, 180]], dtype=np.float64
)
_SHOWN_SIDE = 256  # px at least, so that a small map can be seen
_LONGEST_NAME = 80


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """Writes `<number>-<name>-heat.png` and `<number>-<name>-overlay.png` of each image.

    Twice the threshold is the lightest colour, so that pictures can be compared; without a
    calibration it is the highest value of each map.

    Raises:
        SpecError: the model's detector has no maps.
    """

    model: AnyModel
    folder: Path

    def __post_init__(self) -> None:
        hows = self.model.preprocessings
        self.model.maps_seen([np.empty((0, *how.shape), np.uint8) for how in hows])

    def write(self, numbers: Mapping[str, int], decoded: Decoded) -> None:
        """Write the pictures of a block's readable images; `numbers` is by their ids."""
        how, calibration = (
            self.model.preprocessings[self.model.mapped],
            self.model.facts.calibration,
        )
        start = (how.steps.size - how.resolution) // 2
        scored = slice(start, start + how.resolution)
        pixels_scored = decoded.seen[self.model.mapped][:, scored, scored]
        found = self.model.maps_seen(decoded.seen)
        for image, values, pixels in zip(decoded.images, found, pixels_scored, strict=True):
            top = 2 * calibration.threshold if calibration else float(values.max())
            heat = (values / (top or 1.0)).clip(0, 1).astype(np.float64)
            name = f"{numbers[image.image_id]:06d}-{safe_name(image.image_id)}"
            _save(coloured(heat), self.folder / f"{name}-heat.png")
            _save(overlay(pixels, heat), self.folder / f"{name}-overlay.png")


def safe_name(image_id: str) -> str:
    """The end of an image's id as a part of a file name on any system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", image_id)[-_LONGEST_NAME:]


def coloured(heat: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours `(H, W, 3)` of values `(H, W)` from 0 to 1."""
    at = np.linspace(0, 1, len(_ANCHORS))
    channels = [np.interp(heat, at, _ANCHORS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image `(H, W, 1 or 3)` in grey, covered by the heat as much as it is hot."""
    grey = pixels.mean(axis=2, keepdims=True).repeat(3, axis=2)
    share = heat[:, :, None]
    covered: NDArray[np.uint8] = np.rint((1 - share) * grey + share * coloured(heat)).astype(
        np.uint8
    )
    return covered


def _save(pixels: NDArray[np.uint8], path: Path) -> None:
    times = max(1, -(-_SHOWN_SIDE // len(pixels)))
    large = Image.fromarray(pixels).resize((len(pixels) * times,) * 2, Image.Resampling.NEAREST)
    with atomic_path(path) as temporary:
        large.save(temporary, format="PNG")
