"""Training of a Deep Perceptual Autoencoder on normal images (paper, sections 3.1 and 4.3)."""

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
from dpa_core.errors import ConfigError, DivergedError
from dpa_core.features import FeatureExtractor
from dpa_core.growth import final_phase
from dpa_core.loss import perceptual_loss
from dpa_core.targets import Targets
from dpa_core.training_state import Check, TrainingState, resume, save

OnCheck = Callable[[Check], bool]
"""Called after each validation; True ends the training."""


@dataclass(frozen=True)
class Fit:
    """A trained autoencoder and how it came about."""

    autoencoder: Autoencoder  # with the weights of the best step
    best_step: int
    best_loss: float | None  # on held-out normals; None where none were held out
    history: tuple[Check, ...]


def fit(
    network: AutoencoderConfig,
    training: FitConfig,
    extractor: FeatureExtractor,
    images: NDArray[np.uint8],
    *,
    held_out: NDArray[np.uint8] | None = None,
    on_check: OnCheck | None = None,
    checkpoints: Path | None = None,
    checkpoint_seconds: float = 30.0,
) -> Fit:
    """Train until the loss on held-out normals stops falling, or for `max_steps`.

    Args:
        network: shape of the autoencoder.
        training: optimiser, batches, early stopping.
        extractor: the frozen network; its device is where everything runs.
        images: normal images, uint8 `(N, H, W, C)`; larger than `image_size` they are cropped at
            random.
        held_out: normal images for early stopping, cropped centrally; None trains for `max_steps`.
        on_check: told of every validation; may end the training.
        checkpoints: folder to resume from and to write to.
        checkpoint_seconds: least time between two checkpoints; 0 writes one at every validation.

    Returns:
        the autoencoder with its best weights (its last where nothing was held out).

    Raises:
        ConfigError: images of another type or shape, too small, or none.
        DivergedError: the loss is NaN or infinite.
        CheckpointError: `checkpoints` belongs to another training, or is damaged.
    """
    device = extractor.device
    trainer = _Trainer(network, training, extractor, to_device(images, device))
    validate = _Validation(network, training, extractor, held_out) if held_out is not None else None
    state = TrainingState(trainer.autoencoder, trainer.optimizer)
    if checkpoints is not None:
        resume(state, checkpoints, network, training)
    saved_at = started = time.monotonic() - state.seconds
    while not _finished(state, training):
        stop_at = min(state.step + training.check_every, training.max_steps)
        train_loss = trainer.run(state.step, stop_at)
        loss = validate(trainer.autoencoder) if validate else None
        _require_finite(stop_at, train_loss, loss)
        check = Check(stop_at, train_loss, loss, time.monotonic() - started)
        state.record(check, training.min_improvement)
        state.stopped |= on_check is not None and on_check(check)
        if checkpoints is not None and time.monotonic() - saved_at >= checkpoint_seconds:
            save(state, checkpoints, network, training)
            saved_at = time.monotonic()
    state.restore_best()
    return Fit(trainer.autoencoder, state.best_step, state.best_loss, tuple(state.history))


class _Trainer:
    """The network, its optimiser and its batches."""

    def __init__(
        self,
        network: AutoencoderConfig,
        training: FitConfig,
        extractor: FeatureExtractor,
        images: Tensor,
    ) -> None:
        self.autoencoder = Autoencoder(network, seed=training.seed).to(images.device)
        self.autoencoder.to(memory_format=torch.channels_last)
        self.phase = final_phase(network)
        self.optimizer = torch.optim.Adam(
            self.autoencoder.parameters(), lr=training.learning_rate, fused=True
        )
        self.batches = Batches(
            images,
            size=network.image_size,
            batch_size=training.batch_size,
            flips=training.flips,
            seed=training.seed,
        )
        budget = training.feature_cache_bytes if self.batches.deterministic else 0
        self.targets = Targets(extractor, images, budget_bytes=budget)
        self.reconstruct = torch.compile(self.autoencoder, disable=not training.compile)
        self.extract = torch.compile(extractor, disable=not training.compile)

    def run(self, start: int, stop: int) -> float:
        """Take the steps from `start` up to `stop`; their mean loss."""
        self.autoencoder.train()
        # Summed on the device: reading it at every step would make the host wait.
        total = torch.zeros((), device=self.batches.images.device)
        for step in range(start, stop):
            total += self._step(step)
        return (total / (stop - start)).item()

    def _step(self, step: int) -> Tensor:
        batch = self.batches.at(step)
        target = self.targets.at(batch.positions, batch.images)
        reconstruction = self.extract(self.reconstruct(batch.images, self.phase))
        loss = perceptual_loss(target, reconstruction).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()


class _Validation:
    """Mean loss on held-out normals."""

    def __init__(
        self,
        network: AutoencoderConfig,
        training: FitConfig,
        extractor: FeatureExtractor,
        held_out: NDArray[np.uint8],
    ) -> None:
        self.phase = final_phase(network)
        self.extractor = extractor
        self.chunk = training.batch_size
        if len(held_out) == 0:
            raise ConfigError("held_out must hold at least one image; give None to hold out none")
        on_device = to_device(held_out, extractor.device)
        self.images = centre_crop(on_device, network.image_size)
        self.targets = Targets(extractor, self.images, budget_bytes=training.feature_cache_bytes)

    @torch.no_grad()
    def __call__(self, autoencoder: Autoencoder) -> float:
        autoencoder.eval()
        losses = []
        everything = torch.arange(len(self.images), device=self.images.device)
        for positions in torch.split(everything, self.chunk):
            images = as_input(self.images[positions])
            reconstruction = self.extractor(autoencoder(images, self.phase))
            losses.append(perceptual_loss(self.targets.at(positions, images), reconstruction))
        return torch.cat(losses).mean().item()


def _finished(state: TrainingState, training: FitConfig) -> bool:
    return (
        state.stopped
        or state.step >= training.max_steps
        or state.checks_without_improvement >= training.patience
    )


def _require_finite(step: int, *losses: float | None) -> None:
    if any(loss is not None and not math.isfinite(loss) for loss in losses):
        raise DivergedError(step)
