"""A small frozen network with random weights, and images that an autoencoder learns quickly."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.features import FeatureExtractor
from dpa_core.fit import Fitted, fit
from dpa_core.loss import ReconstructionLoss
from dpa_core.vgg import VGG_MINI

Images = NDArray[np.uint8]
MakeExtractor = Callable[..., FeatureExtractor]
MakeLoss = Callable[..., ReconstructionLoss]
Losses = list[tuple[int, float, float | None]]


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
def make_loss(make_extractor: MakeExtractor) -> MakeLoss:
    """Builds the loss of a configuration, or of layers with equal weights at any resolution."""

    def make(*layers: str, config: LossConfig | None = None) -> ReconstructionLoss:
        config = config or LossConfig({0: dict.fromkeys(layers, 1.0)})
        return ReconstructionLoss(config, make_extractor(*config.every_layer))

    return make


@pytest.fixture(scope="session")
def loss(make_loss: MakeLoss) -> ReconstructionLoss:
    return make_loss("r12", "r22")


@pytest.fixture(scope="session")
def network() -> AutoencoderConfig:
    return AutoencoderConfig(image_size=16, channels=1, latent_dim=8)


@pytest.fixture(scope="session")
def training() -> FitConfig:
    return FitConfig(
        learning_rate=1e-2, batch_size=8, max_steps=30, check_every=5, min_improvement=0.0
    )


@pytest.fixture(scope="session")
def small_fit(
    network: AutoencoderConfig,
    training: FitConfig,
    loss: ReconstructionLoss,
    train: Images,
    held_out: Images,
) -> Callable[..., Fitted]:
    """`fit` of the small network: takes changes of the training, and keywords of `fit`."""
    usual = {"network": network, "loss": loss, "images": train, "held_out": held_out}

    def run(changes: Mapping[str, Any] = MappingProxyType({}), **keywords: Any) -> Fitted:
        return fit(**{**usual, "training": replace(training, **changes), **keywords})

    return run


@pytest.fixture(scope="session")
def losses_of() -> Callable[[Fitted], Losses]:
    """Every number of the validations but the seconds."""

    def losses(fitted: Fitted) -> Losses:
        return [(check.step, check.train_loss, check.held_out_loss) for check in fitted.history]

    return losses


@pytest.fixture(scope="session")
def assert_identical(losses_of: Callable[[Fitted], Losses]) -> Callable[[Fitted, Fitted], None]:
    """Two trainings are the same bit for bit, but for the seconds."""

    def compare(one: Fitted, other: Fitted) -> None:
        assert losses_of(one) == losses_of(other)
        assert (one.best_step, one.best_loss) == (other.best_step, other.best_loss)
        weights, others = one.autoencoder.state_dict(), other.autoencoder.state_dict()
        assert all(torch.equal(value, others[key]) for key, value in weights.items())

    return compare


@pytest.fixture(scope="session")
def train(stripes: Callable[..., Images]) -> Images:
    return stripes(24, 16, 0)


@pytest.fixture(scope="session")
def held_out(stripes: Callable[..., Images]) -> Images:
    return stripes(10, 16, 1)


@pytest.fixture(scope="session")
def larger(stripes: Callable[..., Images]) -> Images:
    return stripes(24, 20, 0)
