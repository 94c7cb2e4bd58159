"""The Wasserstein critic of the paper's ablation (section 4.6), with a gradient penalty.

It learns to tell images from reconstructions; the autoencoder is then also trained to please it.
Losses: Gulrajani et al. 2017 (arXiv 1704.00028), equation 3; the drift term is that of Karras et
al. 2018 (arXiv 1710.10196), appendix A.1, over images and reconstructions.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from dpa_core.autoencoder import Encoder, initialise
from dpa_core.batches import Batches, seed_generator
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.growth import Phase, images_at
from dpa_core.learner import Learner

GRADIENT_PENALTY = 10.0
DRIFT_PENALTY = 1e-3


class Critic(nn.Module):
    """The autoencoder's encoder down to a single number; it grows with it.

    Args:
        config: of the autoencoder; the bottleneck is 1 x 1 x 1 here.
        seed: of the initialisation.
    """

    def __init__(self, config: AutoencoderConfig, *, seed: int) -> None:
        super().__init__()
        self.encoder = Encoder(replace(config, latent_res=1), out_channels=1)
        initialise(self, torch.Generator().manual_seed(seed))

    def forward(self, images: Tensor, phase: Phase) -> Tensor:
        """Verdicts `(N,)` on images `(N, C, R, R)`: higher is more like a real one."""
        verdicts: Tensor = self.encoder(images, phase)
        return verdicts.flatten()


CriticInPhase = Callable[[Tensor], Tensor]
"""A critic that has its phase: images `(N, C, R, R)` to `(N,)`."""


def critic_loss(critic: CriticInPhase, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """What the critic minimises: it parts the two kinds, and its slope stays near 1.

    Args:
        critic: in its phase.
        real: images `(N, C, R, R)`.
        fake: their reconstructions; no gradient reaches them.
        mix: `(N,)` in [0, 1], where between the two the slope of each pair is taken.

    Returns:
        a scalar.
    """
    fake = fake.detach()
    of_real, of_fake = critic(real), critic(fake)
    drift = (of_real**2).mean() + (of_fake**2).mean()
    penalty = gradient_penalty(critic, real, fake, mix)
    return of_fake.mean() - of_real.mean() + GRADIENT_PENALTY * penalty + DRIFT_PENALTY * drift


def gradient_penalty(critic: CriticInPhase, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Mean of `(‖∇D‖₂ - 1)²` over points between real and fake images; arguments as above."""
    between = torch.lerp(fake, real, mix.view(-1, 1, 1, 1)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    slope: Tensor = gradient.flatten(1).norm(dim=1)
    return ((slope - 1) ** 2).mean()


def adversarial_loss(critic: CriticInPhase, fake: Tensor) -> Tensor:
    """What the autoencoder minimises to please the critic, a scalar."""
    return -critic(fake).mean()


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
        critic = partial(self.critic, phase=phase)
        for number in range(step * self.steps, (step + 1) * self.steps):
            real = images_at(self.batches.at(number).images, phase)
            with torch.no_grad():
                fake = reconstruct(real, phase)
            seed_generator(self._generator, self.seed, "mix", number)
            mix = torch.rand(len(real), generator=self._generator, device=real.device)
            self.learner.descend(critic_loss(critic, real, fake, mix))

    def loss(self, reconstruction: Tensor, phase: Phase) -> Tensor:
        """The critic's verdict as a scalar for the autoencoder to minimise."""
        self.critic.requires_grad_(False)  # its weights need no gradient here
        loss = adversarial_loss(partial(self.critic, phase=phase), reconstruction)
        self.critic.requires_grad_(True)
        return loss
