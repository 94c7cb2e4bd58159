"""A model that is fitted in no time, and a folder of images for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.pooled_features import FeaturesDetector
from hpsearch.model.bundle import (
    ModelFacts,
    calibrated,
)
from hpsearch.model.model import Model

SIDE = 16
PARAMS = {
    "resolution": SIDE,
    "random_crop": 1.0,
    "central_crop": 1.0,
    "fit": "crop",
    "greyscale": False,
    "equalize": False,
    "kind": "mahalanobis",
    "layer": "colour",
}


@pytest.fixture(scope="session")
def model(make_setup: Callable[..., Setup], facts_by_hand: Callable[..., ModelFacts]) -> Model:
    """Mahalanobis distance of colours, with a threshold for one in ten."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(120, 15, (60, SIDE, SIDE, 3)) + rng.normal(0, 20, (60, 1, 1, 3))
    normals = ImageView(pixels.clip(0, 255).astype(np.uint8), np.arange(60), None)
    detector = FeaturesDetector(make_setup(PARAMS, normals))
    detector.fit(ImageView(normals.pixels, np.arange(40), None), None, max_steps=1)
    held_out = detector.score(ImageView(normals.pixels, np.arange(40, 60), None))
    facts = facts_by_hand("features", detector, calibrated(held_out, rate=0.1))
    return Model(facts, detector)


@pytest.fixture
def make_images() -> Callable[..., Path]:
    """Fills a folder with images of mixed sizes, the broken ones among them."""

    def make(folder: Path, n: int, broken: tuple[int, ...] = ()) -> Path:
        rng = np.random.default_rng(n)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(n):
            path = folder / f"{number:04d}.png"
            if number in broken:
                path.write_bytes([b"", b"no image", b"\x89PNG\r\n\x1a\n"][number % 3])
                continue
            height, width = rng.integers(8, 40, 2)
            colour = rng.integers(60, 180, 3)
            pixels = rng.normal(colour, 10, (height, width, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(path, compress_level=0)
        return folder

    return make
