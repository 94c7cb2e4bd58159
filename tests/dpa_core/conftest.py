"""A small frozen network with random weights, and images that an autoencoder learns quickly."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.features import VGG_MINI, FeatureExtractor

Images = NDArray[np.uint8]
MakeExtractor = Callable[..., FeatureExtractor]


@pytest.fixture(scope="session")
def mini_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = VGG_MINI.build("r42").state_dict()
    for key, values in weights.items():
        if key.endswith("weight"):  # a scale that neither grows nor fades from layer to layer
            fan_in = values[0].numel()
            values.normal_(std=(2 / fan_in) ** 0.5, generator=generator)
        else:
            values.normal_(std=0.1, generator=generator)
    return weights


@pytest.fixture(scope="session")
def make_extractor(mini_weights: dict[str, Tensor]) -> MakeExtractor:
    """Builds an extractor of the layers named."""

    def make(*layers: str) -> FeatureExtractor:
        return FeatureExtractor(VGG_MINI, layers, mini_weights)

    return make


@pytest.fixture(scope="session")
def stripes() -> Callable[[int, int, int], Images]:
    """`(count, size, seed)` to grey images `(count, size, size, 1)`: a wave, shifted."""

    def make(count: int, size: int, seed: int) -> Images:
        shifts = np.random.default_rng(seed).uniform(0, 2 * np.pi, (count, 1, 1))
        wave = np.sin(np.arange(size) * np.pi / 4 + shifts)  # (count, 1, size)
        rows = np.broadcast_to(wave, (count, size, size))
        return (127.5 + 100 * rows).astype(np.uint8)[..., None]

    return make


@pytest.fixture(scope="session")
def extractor(make_extractor: MakeExtractor) -> FeatureExtractor:
    return make_extractor("r12", "r22")


@pytest.fixture(scope="session")
def train(stripes: Callable[..., Images]) -> Images:
    return stripes(24, 16, 0)


@pytest.fixture(scope="session")
def held_out(stripes: Callable[..., Images]) -> Images:
    return stripes(10, 16, 1)


@pytest.fixture(scope="session")
def larger(stripes: Callable[..., Images]) -> Images:
    return stripes(24, 20, 0)
