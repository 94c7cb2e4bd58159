"""Training of a Deep Perceptual Autoencoder on normal images (paper, sections 3.1, 3.2 and 4.3).

`fit` is the whole of it; a `Trainer` takes its steps, `Targets` keeps what reconstructions are
compared with, and a `Validation` is the loss on images that are held out.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import Batches, as_input, centre_crop, to_device
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.critic import Adversary
from dpa_core.errors import ConfigError, DivergedError
from dpa_core.growth import Phase, images_at, phase_at, schedule_of, shrink, stage_at
from dpa_core.learner import Learner
from dpa_core.loss import ReconstructionLoss
from dpa_core.training_state import Check, TrainingState, configuration, resume, save

_IMAGES_A_PASS = 128

OnCheck = Callable[[Check], bool]
"""Called after each validation; True ends the training."""


@dataclass(frozen=True)
class Fitted:
    """A trained autoencoder and how it came about.

    Attributes:
        autoencoder: with the weights of the best step.
        best_step: counted from the start, growing included.
        best_loss: on held-out normals at full size; None where none were held out.
        history: every validation.
    """

    autoencoder: Autoencoder
    best_step: int
    best_loss: float | None
    history: tuple[Check, ...]


def fit(
    network: AutoencoderConfig,
    training: FitConfig,
    loss: ReconstructionLoss,
    images: NDArray[np.uint8],
    *,
    held_out: NDArray[np.uint8] | None = None,
    on_check: OnCheck | None = None,
    checkpoints: Path | None = None,
    checkpoint_seconds: float = 30.0,
) -> Fitted:
    """Grow the network, then train until the loss on held-out normals stops falling.

    Args:
        network: shape of the autoencoder.
        training: optimiser, batches, growing, early stopping.
        loss: what is minimised; its device is where everything runs.
        images: normal images, uint8 `(N, H, W, C)`; larger than `image_size` they are cropped at
            random.
        held_out: normal images for early stopping, cropped centrally; None trains for `max_steps`.
        on_check: told of every validation; may end the training.
        checkpoints: folder to resume from and to write to.
        checkpoint_seconds: least time between two checkpoints; 0 writes one at every validation.

    Returns:
        the autoencoder with its best weights (its last where nothing was held out).

    Raises:
        ConfigError: images of another type or shape, too small, or none; or `max_steps` ends before
            the network has grown.
        DivergedError: the loss is NaN or infinite.
        CheckpointError: `checkpoints` belongs to another training, or is damaged.
    """
    require_time_to_grow(network, training)
    loss = loss.in_precision(training.precision)
    trainer = Trainer(network, training, loss, to_device(images, loss.device))
    validate = None
    if held_out is not None:
        validate = Validation(
            loss,
            held_out,
            size=network.image_size,
            chunk=training.batch_size,
            budget_bytes=training.feature_cache_bytes,
        )
    state = TrainingState(trainer.autoencoder)
    belongs_to = configuration(network, training, loss.config)
    if checkpoints is not None:
        resume(state, trainer.learners, checkpoints, belongs_to)
        trainer.stage_of_moments(state.step)
    saved_at = started = time.monotonic() - state.seconds
    while not state.finished(training):
        stop_at = min(state.step + training.check_every, training.max_steps)
        train_loss = trainer.run(state.step, stop_at)
        phase = phase_at(stop_at - 1, trainer.schedule)
        held_out_loss = validate(trainer.autoencoder, phase) if validate else None
        if not all(math.isfinite(loss) for loss in (train_loss, held_out_loss or 0.0)):
            raise DivergedError(stop_at)
        check = Check(stop_at, train_loss, held_out_loss, time.monotonic() - started)
        full_size = stop_at > trainer.schedule.growth_steps
        state.record(check, training.min_improvement, full_size=full_size)
        state.stopped |= on_check is not None and on_check(check)
        if checkpoints is not None and time.monotonic() - saved_at >= checkpoint_seconds:
            save(state, trainer.learners, checkpoints, belongs_to)
            saved_at = time.monotonic()
    state.restore_best()
    return Fitted(trainer.autoencoder, state.best_step, state.best_loss, tuple(state.history))


def require_time_to_grow(network: AutoencoderConfig, training: FitConfig) -> None:
    """Raise ConfigError where `max_steps` ends before the network has its full size."""
    needed = schedule_of(network, training).growth_steps
    if training.max_steps <= needed:
        raise ConfigError(
            f"max_steps must be above {needed}, the steps that growing from "
            f"{network.resolutions[0]} to {network.image_size} px takes, got {training.max_steps}"
        )


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
        # Not by `disable=`: importing the compiler takes longer than a short training.
        self._compiled = torch.compile(self.autoencoder) if training.compile else self.autoencoder

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
        stage = stage_at(step, self.schedule)
        if stage != self.stage:  # with each new stage of growing the optimisers start afresh
            for learner in self.learners.values():
                learner.start_afresh()
            self.stage = stage
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

    def _reconstruct(self, x: Tensor, phase: Phase) -> Tensor:
        # A compiled graph holds for one α only, and in a transition each step has another.
        network = self._compiled if phase.alpha == 1 else self.autoencoder
        reconstruction: Tensor = network(x, phase)
        return reconstruction


class Targets:
    """What reconstructions of a fixed set of images are compared with.

    Where the features of all images fit into `budget_bytes` they are computed at once and looked up
    afterwards; otherwise they are computed whenever a batch is asked for. Those of one resolution
    are kept: a network that grows asks for the next when it has done with the one before.

    Args:
        loss: computes the features.
        images: uint8 `(N, S, S, C)` on the loss's device, as the autoencoder will see them.
        budget_bytes: for float32 features on the device.
    """

    def __init__(self, loss: ReconstructionLoss, images: Tensor, *, budget_bytes: int) -> None:
        self.loss = loss
        self.images = images
        self.budget_bytes = budget_bytes
        self.resolution: int | None = None
        self.cache: dict[str, Tensor] | None = None

    @torch.no_grad()
    def of(self, positions: Tensor, images: Tensor, phase: Phase) -> dict[str, Tensor] | None:
        """f̂(x) of the images at `positions` `(B,)`, whose pixels are `images` `(B, C, R, R)`.

        Returns:
            per layer `(B, C', H', W')`; None in a transition, where images change with each step.
        """
        if phase.alpha < 1:
            return None
        if images.shape[-1] != self.resolution:
            self.cache = None  # so that its memory is free first
            self.resolution = images.shape[-1]
            per_image = sum(4 * values.numel() for values in self._features(0, 1).values())
            if len(self.images) * per_image <= self.budget_bytes:
                self.cache = self._all_features()
        if self.cache is not None:
            return {layer: values[positions] for layer, values in self.cache.items()}
        return self.loss.features(images)

    def _all_features(self) -> dict[str, Tensor]:
        """Filled in place: joining chunks would take the budget twice."""
        cache: dict[str, Tensor] = {}
        for start in range(0, len(self.images), _IMAGES_A_PASS):
            for layer, values in self._features(start, start + _IMAGES_A_PASS).items():
                if layer not in cache:
                    shape = (len(self.images), *values.shape[1:])
                    cache[layer] = torch.empty(
                        shape, device=values.device, memory_format=torch.channels_last
                    )
                cache[layer][start : start + len(values)] = values
        return cache

    def _features(self, start: int, stop: int) -> dict[str, Tensor]:
        images = as_input(self.images[start:stop])
        return self.loss.features(shrink(images, self.resolution or images.shape[-1]))


class Validation:
    """Mean reconstruction loss of held-out normals, in whatever phase the network is.

    Args:
        loss: its device is where everything runs.
        held_out: uint8 `(N, H, W, C)`; larger than `size` they are cropped centrally.
        size: side in px of the autoencoder's images.
        chunk: images a pass.
        budget_bytes: on the device, for features of the images.

    Raises:
        ConfigError: images of another type or shape, too small, or none.
    """

    def __init__(
        self,
        loss: ReconstructionLoss,
        held_out: NDArray[np.uint8],
        *,
        size: int,
        chunk: int,
        budget_bytes: int,
    ) -> None:
        if len(held_out) == 0:
            raise ConfigError("held_out must hold at least one image; give None to hold out none")
        self.loss = loss
        self.chunk = chunk
        self.images = centre_crop(to_device(held_out, loss.device), size)
        self.targets = Targets(loss, self.images, budget_bytes=budget_bytes)

    @torch.no_grad()
    def __call__(self, autoencoder: Autoencoder, phase: Phase) -> float:
        """The mean over the images."""
        autoencoder.eval()
        losses = []
        everything = torch.arange(len(self.images), device=self.images.device)
        for positions in torch.split(everything, self.chunk):
            images = as_input(self.images[positions])
            x = images_at(images, phase)
            target = self.targets.of(positions, x, phase)
            losses.append(self.loss(x, autoencoder(x, phase), phase, target))
        return torch.cat(losses).mean().item()
