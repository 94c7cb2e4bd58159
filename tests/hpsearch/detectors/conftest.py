"""Images in memory and the setup of a detector on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors.backbones.backbone import Backbone, load_backbone
from hpsearch.detectors.base import ImageView, Setup

N_NORMAL = 40


@pytest.fixture(scope="session")
def vgg_mini() -> Backbone:
    return load_backbone("vgg-mini")


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """40 noisy grey images of 16 px, and 10 with stripes."""
    rng = np.random.default_rng(0)
    images = rng.normal(120, 15, (N_NORMAL + 10, 16, 16, 3))
    images[N_NORMAL:, ::4] += 90
    return images.clip(0, 255).astype(np.uint8)


@pytest.fixture
def view(pixels: np.ndarray) -> Callable[[slice], ImageView]:
    return lambda rows: ImageView(pixels, np.arange(len(pixels))[rows], "these")


@pytest.fixture
def setup(
    pixels: np.ndarray, vgg_mini: Backbone, tmp_path: Path, view: Callable[[slice], ImageView]
) -> Callable[..., Setup]:
    """Makes the setup of a configuration."""

    def make(training: dict[str, Any] | None = None, seed: int = 0, **params: Any) -> Setup:
        return Setup(
            params={"resolution": 16, **params},
            training=TrainingSpec(**(training or {})),
            backbone=vgg_mini,
            normals=view(slice(0, N_NORMAL)),
            seed=seed,
            device="cpu",
            cache_dir=tmp_path / "cache",
        )

    return make
