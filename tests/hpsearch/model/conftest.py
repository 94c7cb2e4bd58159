"""A tiny autoencoder, trained once, and its bundle in each test's own folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.dpa import PerceptualAutoencoder
from hpsearch.model.bundle import (
    ModelFacts,
    attach_calibration,
    calibrated,
    write_bundle,
)

SIDE = 16
PARAMS = {
    "resolution": SIDE,
    "random_crop": 1.0,
    "central_crop": 1.0,
    "fit": "crop",
    "greyscale": False,
    "equalize": False,
    "latent_dim": 2,
    "latent_res": 4,
    "layers": "r12",
    "loss": "perceptual",
    "start_resolution": 0,
    "steps_per_phase": 20_000,
    "statistics": "natural",
}


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """40 noisy images of 16 px, and 10 with stripes."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(120, 15, (50, SIDE, SIDE, 3))
    pixels[40:, ::4] += 90
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def trained(images: np.ndarray, make_setup: Callable[..., Setup]) -> PerceptualAutoencoder:
    """Fitted on the first 30."""
    normals = ImageView(images, np.arange(30), None)
    detector = PerceptualAutoencoder(make_setup(PARAMS, normals, batch_size=8, max_steps=30))
    detector.fit(normals, None, max_steps=30)
    return detector


@pytest.fixture(scope="session")
def facts(trained: PerceptualAutoencoder, facts_by_hand: Callable[..., ModelFacts]) -> ModelFacts:
    return facts_by_hand("dpa", trained)


@pytest.fixture(scope="session")
def pristine(
    trained: PerceptualAutoencoder,
    facts: ModelFacts,
    images: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with the bundle `model`, `normal.png` and `striped.png`."""
    folder = tmp_path_factory.mktemp("bundle")
    trained.save(folder / "saved")
    write_bundle(folder / "model", saved=folder / "saved", facts=facts)
    held_out = trained.score(ImageView(images, np.arange(30, 39), None))
    attach_calibration(folder / "model", calibrated(held_out, rate=0.1))
    Image.fromarray(images[39]).save(folder / "normal.png")
    Image.fromarray(images[40]).save(folder / "striped.png")
    shutil.rmtree(folder / "saved")
    return folder


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be damaged."""
    return shutil.copytree(pristine / "model", tmp_path / "model")
