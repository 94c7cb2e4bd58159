"""Training of a Deep Perceptual Autoencoder on normal images (paper, sections 3.1, 3.2 and 4.3)."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpa_core.autoencoder import Autoencoder
from dpa_core.batches import to_device
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.errors import ConfigError, DivergedError
from dpa_core.growth import phase_at, schedule_of
from dpa_core.loss import ReconstructionLoss
from dpa_core.targets import Validation
from dpa_core.trainer import Trainer
from dpa_core.training_state import Check, TrainingState, configuration, resume, save

OnCheck = Callable[[Check], bool]
"""Called after each validation; True ends the training."""


@dataclass(frozen=True)
class Fit:
    """A trained autoencoder and how it came about."""

    autoencoder: Autoencoder  # with the weights of the best step
    best_step: int  # counted from the start, growing included
    best_loss: float | None  # on held-out normals at full size; None where none were held out
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
) -> Fit:
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
    validate = _validation(network, training, loss, held_out) if held_out is not None else None
    state = TrainingState(trainer.autoencoder)
    belongs_to = configuration(network, training, loss.config)
    if checkpoints is not None:
        resume(state, trainer.learners, checkpoints, belongs_to)
        trainer.stage_of_moments(state.step)
    saved_at = started = time.monotonic() - state.seconds
    while not _finished(state, training):
        stop_at = min(state.step + training.check_every, training.max_steps)
        train_loss = trainer.run(state.step, stop_at)
        phase = phase_at(stop_at - 1, trainer.schedule)
        held_out_loss = validate(trainer.autoencoder, phase) if validate else None
        _require_finite(stop_at, train_loss, held_out_loss)
        check = Check(stop_at, train_loss, held_out_loss, time.monotonic() - started)
        full_size = stop_at > trainer.schedule.growth_steps
        state.record(check, training.min_improvement, full_size=full_size)
        state.stopped |= on_check is not None and on_check(check)
        if checkpoints is not None and time.monotonic() - saved_at >= checkpoint_seconds:
            save(state, trainer.learners, checkpoints, belongs_to)
            saved_at = time.monotonic()
    state.restore_best()
    return Fit(trainer.autoencoder, state.best_step, state.best_loss, tuple(state.history))


def require_time_to_grow(network: AutoencoderConfig, training: FitConfig) -> None:
    """Raise ConfigError where `max_steps` ends before the network has its full size."""
    needed = schedule_of(network, training).growth_steps
    if training.max_steps <= needed:
        raise ConfigError(
            f"max_steps must be above {needed}, the steps that growing from "
            f"{network.resolutions[0]} to {network.image_size} px takes, got {training.max_steps}"
        )


def _validation(
    network: AutoencoderConfig,
    training: FitConfig,
    loss: ReconstructionLoss,
    held_out: NDArray[np.uint8],
) -> Validation:
    return Validation(
        loss,
        held_out,
        size=network.image_size,
        chunk=training.batch_size,
        budget_bytes=training.feature_cache_bytes,
    )


def _finished(state: TrainingState, training: FitConfig) -> bool:
    return (
        state.stopped
        or state.step >= training.max_steps
        or state.checks_without_improvement >= training.patience
    )


def _require_finite(step: int, *losses: float | None) -> None:
    if any(loss is not None and not math.isfinite(loss) for loss in losses):
        raise DivergedError(step)
