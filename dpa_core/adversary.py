"""A critic in training beside the autoencoder, and what it holds against reconstructions."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dpa_core.batches import Batches, seed_generator
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.critic import Critic, adversarial_loss, critic_loss
from dpa_core.growth import Phase
from dpa_core.learner import Learner
from dpa_core.resampling import images_at

_CRITICS_BATCHES = 1  # their stream; the autoencoder's is 0


class Adversary:
    """Trains the critic on batches of its own, some steps for each of the autoencoder's.

    Args:
        network: the autoencoder's shape.
        training: the critic's steps and learning rate, batches, seed.
        images: uint8 `(N, H, W, C)` on the device.
    """

    def __init__(self, network: AutoencoderConfig, training: FitConfig, images: Tensor) -> None:
        self.critic = Critic(network, seed=training.seed).to(images.device)
        self.critic.to(memory_format=torch.channels_last)
        self.learner = Learner(self.critic, training.critic_learning_rate)
        self.steps = training.critic_steps
        self.seed = training.seed
        self.batches = Batches(
            images,
            size=network.image_size,
            batch_size=training.batch_size,
            flips=training.flips,
            seed=training.seed,
            stream=_CRITICS_BATCHES,
        )
        self._generator = torch.Generator(images.device)

    def train(
        self, step: int, phase: Phase, reconstruct: Callable[[Tensor, Phase], Tensor]
    ) -> None:
        """The critic's steps before step number `step` of the autoencoder."""
        verdict = partial(self.critic, phase=phase)
        for number in range(step * self.steps, (step + 1) * self.steps):
            real = images_at(self.batches.at(number).images, phase)
            with torch.no_grad():
                fake = reconstruct(real, phase)
            self.learner.descend(critic_loss(verdict, real, fake, self._mix(number, len(real))))

    def loss(self, reconstruction: Tensor, phase: Phase) -> Tensor:
        """The critic's verdict as a scalar for the autoencoder to minimise."""
        self.critic.requires_grad_(False)  # its weights need no gradient here
        loss = adversarial_loss(partial(self.critic, phase=phase), reconstruction)
        self.critic.requires_grad_(True)
        return loss

    def _mix(self, number: int, count: int) -> Tensor:
        seed_generator(self._generator, self.seed, "mix", number)
        return torch.rand(count, generator=self._generator, device=self._generator.device)
