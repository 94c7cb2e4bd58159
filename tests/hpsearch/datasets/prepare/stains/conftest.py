"""Tiles mixed from known stains by the Beer-Lambert law."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hpsearch.datasets.histology.style import SlideStain, draw_stain, transmit

GLASS = np.full(3, 255.0)


def _field(rng: np.random.Generator, shape: tuple[int, int], size: float) -> np.ndarray:
    """A random smooth surface with standard deviation 1."""
    field = gaussian_filter(rng.standard_normal(shape), size)
    return field / field.std()


def mixed(stain: SlideStain, *, seed: int, shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    """Nuclei full of haematoxylin with some eosin, stroma the other way round, and bare glass."""
    rng = np.random.default_rng(seed)
    nuclei = np.clip(4 * (_field(rng, shape, 3) - 0.8), 0, 1)
    stroma = np.clip(2 * (_field(rng, shape, 6) + 0.8), 0, 1)
    haematoxylin = nuclei * rng.uniform(0.8, 1.6, shape) + 0.05 * stroma
    eosin = stroma * (1 - 0.7 * nuclei) * rng.uniform(0.3, 0.9, shape)
    light = transmit(replace(stain, glass=GLASS), haematoxylin, eosin)
    return np.clip(np.round(light + rng.normal(0, 1, light.shape)), 0, 255).astype(np.uint8)


@pytest.fixture
def mix() -> Callable[..., np.ndarray]:
    """`mix(stain, seed=0, shape=(128, 128))`: a tile uint8 `(H, W, 3)`."""
    return mixed


@pytest.fixture
def stains() -> list[SlideStain]:
    """Ten slides' stains."""
    return [draw_stain(np.random.default_rng(seed)) for seed in range(10)]
