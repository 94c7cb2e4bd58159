"""The steps of a training: batches, growing, losses, optimisers."""

import torch
from torch import Tensor

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import Batches
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.critic import Adversary
from dpa_core.growth import Phase, images_at, phase_at, schedule_of, stage_at
from dpa_core.learner import Learner
from dpa_core.loss import ReconstructionLoss
from dpa_core.targets import Targets


class Trainer:
    """The autoencoder, its critic if it has one, and their batches.

    Args:
        network: shape of the autoencoder.
        training: optimiser, batches, growing.
        loss: what is minimised; its device is where everything runs.
        images: uint8 `(N, H, W, C)` on that device.
    """

    def __init__(
        self,
        network: AutoencoderConfig,
        training: FitConfig,
        loss: ReconstructionLoss,
        images: Tensor,
    ) -> None:
        self.schedule = schedule_of(network, training)
        self.stage = 0
        self.autoencoder = Autoencoder(network, seed=training.seed).to(images.device)
        self.autoencoder.to(memory_format=torch.channels_last)
        self.learners = {"autoencoder": Learner(self.autoencoder, training.learning_rate)}
        self.adversary = None
        if loss.config.adversarial:
            self.adversary = Adversary(network, training, images)
            self.learners["critic"] = self.adversary.learner
        self.batches = Batches(
            images,
            size=network.image_size,
            batch_size=training.batch_size,
            flips=training.flips,
            seed=training.seed,
        )
        budget = training.feature_cache_bytes if self.batches.deterministic else 0
        self.targets = Targets(loss, images, budget_bytes=budget)
        self.loss = loss.compiled() if training.compile else loss
        self._compiled = torch.compile(self.autoencoder, disable=not training.compile)

    def run(self, start: int, stop: int) -> float:
        """Take the steps from `start` up to `stop`; the mean loss, without the critic's part."""
        self.autoencoder.train()
        # Summed on the device: reading it at every step would make the host wait.
        total = torch.zeros((), device=self.batches.images.device)
        for step in range(start, stop):
            total += self.step(step)
        return (total / (stop - start)).item()

    def step(self, step: int) -> Tensor:
        """Take one step; its loss, without the critic's part."""
        self._enter_stage_of(step)
        phase = phase_at(step, self.schedule)
        if self.adversary:
            self.adversary.train(step, phase, self._reconstruct)
        batch = self.batches.at(step)
        x = images_at(batch.images, phase)
        target = self.targets.of(batch.positions, x, phase)
        reconstruction = self._reconstruct(x, phase)
        loss = self.loss(x, reconstruction, phase, target).mean()
        total = loss
        if self.adversary:
            weight = self.loss.config.adversarial
            total = loss + weight * self.adversary.loss(reconstruction, phase)
        self.learners["autoencoder"].descend(total)
        return loss.detach()

    def stage_of_moments(self, step: int) -> None:
        """The optimisers hold the moments of a training that has taken `step` steps."""
        self.stage = stage_at(max(step - 1, 0), self.schedule)

    def _enter_stage_of(self, step: int) -> None:
        """With each new stage of growing the optimisers start afresh."""
        stage = stage_at(step, self.schedule)
        if stage != self.stage:
            for learner in self.learners.values():
                learner.start_afresh()
            self.stage = stage

    def _reconstruct(self, x: Tensor, phase: Phase) -> Tensor:
        # A compiled graph holds for one α only, and in a transition each step has another.
        network = self._compiled if phase.alpha == 1 else self.autoencoder
        reconstruction: Tensor = network(x, phase)
        return reconstruction
