from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dpa_core.config import AutoencoderConfig
from dpa_core.critic import (
    DRIFT_PENALTY,
    GRADIENT_PENALTY,
    Critic,
    adversarial_loss,
    critic_loss,
    gradient_penalty,
)
from dpa_core.growth import Phase

SHAPE = (5, 3, 4, 4)
MIX = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)


def images(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=generator, dtype=torch.float64)


def linear(scale: float) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """D(x) = w·x, whose gradient is w everywhere."""
    generator = torch.Generator().manual_seed(9)
    w = scale * torch.randn(SHAPE[1:], generator=generator, dtype=torch.float64)
    return lambda x: (x * w).sum(dim=(1, 2, 3)), w


@pytest.mark.parametrize("scale", [0.01, 0.3, 2.0])
def test_gradient_penalty_of_a_linear_critic(scale: float) -> None:
    critic, w = linear(scale)
    expected = (np.linalg.norm(w.numpy()) - 1) ** 2
    assert gradient_penalty(critic, images(0), images(1), MIX).item() == pytest.approx(expected)


def test_gradient_penalty_of_a_quadratic_critic_depends_on_the_mix() -> None:
    """D(x) = ‖x‖² / 2 has the gradient x, here the point between the pair."""

    def critic(x: Tensor) -> Tensor:
        return x.square().sum(dim=(1, 2, 3)) / 2

    real, fake = images(0), images(1)
    weight = MIX.numpy()[:, None, None, None]
    between = weight * real.numpy() + (1 - weight) * fake.numpy()
    norms = np.linalg.norm(between.reshape(5, -1), axis=1)
    penalty = gradient_penalty(critic, real, fake, MIX)
    assert penalty.item() == pytest.approx(np.mean((norms - 1) ** 2))


def test_critic_loss_is_the_sum_of_its_parts() -> None:
    critic, w = linear(0.3)
    real, fake = images(0), images(1)
    of_real, of_fake = ((x.numpy() * w.numpy()).sum(axis=(1, 2, 3)) for x in (real, fake))
    slope = (np.linalg.norm(w.numpy()) - 1) ** 2
    drift = np.mean(of_real**2) + np.mean(of_fake**2)
    expected = of_fake.mean() - of_real.mean() + GRADIENT_PENALTY * slope + DRIFT_PENALTY * drift
    assert critic_loss(critic, real, fake, MIX).item() == pytest.approx(expected)
    assert adversarial_loss(critic, fake).item() == pytest.approx(-of_fake.mean())


def test_no_gradient_of_the_critics_loss_reaches_the_autoencoder() -> None:
    critic, w = linear(1.0)
    w.requires_grad_()
    fake = images(1).requires_grad_()
    critic_loss(critic, images(0), fake, MIX).backward()
    assert fake.grad is None and w.grad is not None


def test_penalty_trains_the_critic_through_second_derivatives() -> None:
    """Minimised alone, the penalty brings a real critic's slope to 1."""
    phase = Phase(16)
    critic = Critic(AutoencoderConfig(16, 1, 4), seed=0)
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(8, 1, 16, 16, generator=generator) for _ in range(2))
    mix = torch.rand(8, generator=generator)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    penalties = []
    for _ in range(60):
        optimizer.zero_grad()
        penalty = gradient_penalty(lambda x: critic(x, phase), real, fake, mix)
        penalty.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        penalties.append(penalty.item())
    assert penalties[-1] < 0.1 * penalties[0]
