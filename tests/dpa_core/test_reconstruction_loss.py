"""Weighted sums of losses, for networks that grow and that do not, against numpy."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.config import LossConfig
from dpa_core.growth import Phase
from dpa_core.loss import ReconstructionLoss

MakeLoss = Callable[..., ReconstructionLoss]
LAYERS = {8: {"r12": 1.0}, 16: {"r22": 1.0, "r32": 0.25}}


def images(seed: int, size: int = 16) -> Tensor:
    return torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(seed))


def halved(x: NDArray[np.float32]) -> NDArray[np.float32]:
    n, c, size, _ = x.shape
    return x.reshape(n, c, size // 2, 2, size // 2, 2).mean(axis=(3, 5))


def by_numpy(
    loss: ReconstructionLoss, x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The weighted sum at the images' own resolution, from the extractor's features."""
    config, size = loss.config, x.shape[-1]
    of_x, of_y = (loss.extractor(torch.from_numpy(values)) for values in (x, y))
    weights = config.layers[max(first for first in config.layers if first <= size)]
    total = np.zeros(len(x))
    for layer, weight in weights.items():
        a, b = of_x[layer].double().numpy(), of_y[layer].double().numpy()
        for n in range(len(x)):
            error = np.abs(a[n] - b[n]).mean() / np.abs(a[n]).mean()
            total[n] += config.perceptual * weight * error / sum(weights.values())
    return total + config.l1 * np.abs(x - y).mean(axis=(1, 2, 3))


WEIGHTS = [
    {},
    {"perceptual": 0.5, "l1": 2.0},
    {"perceptual": 0.0, "l1": 1.0},
    {"l1": 0.1, "adversarial": 1.0},  # the critic is no part of the score
]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("size", [8, 16, 32])
def test_weighted_sum(make_loss: MakeLoss, weights: dict[str, float], size: int) -> None:
    loss = make_loss(config=LossConfig(LAYERS, **weights))
    x, y = images(0, size), images(1, size)
    found = loss(x, y, Phase(size)).numpy()
    np.testing.assert_allclose(found, by_numpy(loss, x.numpy(), y.numpy()), rtol=1e-5)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_blend_in_a_transition(
    make_loss: MakeLoss, weights: dict[str, float], alpha: float
) -> None:
    """α L(f₂(x), f₂(x̂)) + (1 - α) L(f₁(down x), f₁(down x̂)), paper section 3.2."""
    loss = make_loss(config=LossConfig(LAYERS, **weights))
    x, y = images(0), images(1)
    fine = by_numpy(loss, x.numpy(), y.numpy())
    coarse = by_numpy(loss, halved(x.numpy()), halved(y.numpy()))
    found = loss(x, y, Phase(16, alpha)).numpy()
    np.testing.assert_allclose(found, alpha * fine + (1 - alpha) * coarse, rtol=1e-5)


def test_known_features_change_nothing(make_loss: MakeLoss) -> None:
    loss = make_loss(config=LossConfig(LAYERS, l1=0.5))
    x, y = images(0), images(1)
    known = loss(x, y, Phase(16), loss.features(x))
    torch.testing.assert_close(known, loss(x, y, Phase(16)))


def test_gradient_reaches_the_reconstruction_alone(make_loss: MakeLoss) -> None:
    loss = make_loss(config=LossConfig(LAYERS))
    x, y = images(0).requires_grad_(), images(1).requires_grad_()
    loss(x, y, Phase(16, 0.5)).sum().backward()
    assert x.grad is None or not x.grad.any()
    assert y.grad is not None and y.grad.abs().min() > 0


def test_without_a_perceptual_loss_the_network_is_not_run(make_loss: MakeLoss) -> None:
    loss = make_loss(config=LossConfig({0: {"r42": 1.0}}, perceptual=0.0, l1=1.0))
    tiny = images(0, 2)  # r42 has no position left here
    assert loss.features(tiny) == {}
    assert loss(tiny, tiny, Phase(2)).tolist() == [0.0, 0.0, 0.0]


def test_nothing_deeper_than_the_layers_of_the_resolution_is_computed(
    make_loss: MakeLoss,
) -> None:
    loss = make_loss(config=LossConfig({0: {"r12": 1.0}, 16: {"r42": 1.0}}))
    assert set(loss.features(images(0, 2))) == {"r12"}  # r42 would fail at 2 px
    assert set(loss.features(images(0, 16))) == {"r42"}
