"""What a training carries from one validation to the next, and how it is resumed exactly."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpa_core.autoencoder import Autoencoder
from dpa_core.checkpoint import load_checkpoint, save_checkpoint
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.errors import CheckpointError


@dataclass(frozen=True)
class Check:
    """One validation: losses are means over images, `seconds` count from the start of training."""

    step: int
    train_loss: float  # over the steps since the validation before
    held_out_loss: float | None
    seconds: float


class TrainingState:
    """Weights, optimiser, the best weights so far, and the count towards early stopping."""

    def __init__(self, autoencoder: Autoencoder, optimizer: torch.optim.Optimizer) -> None:
        self.autoencoder = autoencoder
        self.optimizer = optimizer
        self.history: list[Check] = []
        self.best_step = 0
        self.best_loss: float | None = None
        self.best_weights: dict[str, Tensor] = {}
        self.checks_without_improvement = 0
        self.stopped = False

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.history[-1].step if self.history else 0

    @property
    def seconds(self) -> float:
        """Seconds of training up to the last validation."""
        return self.history[-1].seconds if self.history else 0.0

    def record(self, check: Check, min_improvement: float) -> None:
        """Add a validation; keep the weights where they are the best so far."""
        self.history.append(check)
        loss = check.held_out_loss
        if loss is None:  # nothing to choose by: the last weights are the ones
            self.best_step = check.step
        elif self.best_loss is None or loss < self.best_loss - min_improvement:
            self.best_step, self.best_loss = check.step, loss
            self.best_weights = _copy(self.autoencoder.state_dict())
            self.checks_without_improvement = 0
        else:
            self.checks_without_improvement += 1

    def restore_best(self) -> None:
        """Put the best weights back into the autoencoder."""
        if self.best_weights:
            self.autoencoder.load_state_dict(self.best_weights)


def save(
    state: TrainingState, folder: Path, network: AutoencoderConfig, training: FitConfig
) -> None:
    """Write the state as the newest checkpoint of `folder`."""
    tensors = {f"weights.{key}": value for key, value in state.autoencoder.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in state.best_weights.items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value for key, value in moments.items()}
    values = {
        "configuration": _configuration(network, training),
        "history": [asdict(check) for check in state.history],
        "best_step": state.best_step,
        "best_loss": state.best_loss,
        "checks_without_improvement": state.checks_without_improvement,
        "stopped": state.stopped,
    }
    save_checkpoint(folder, tensors, values, name=f"step-{state.step:08d}")


def resume(
    state: TrainingState, folder: Path, network: AutoencoderConfig, training: FitConfig
) -> None:
    """Fill `state` from the newest checkpoint of `folder`, if there is one.

    Raises:
        CheckpointError: it was written under another configuration, or is damaged.
    """
    found = load_checkpoint(folder)
    if found is None:
        return
    tensors, values = found
    if values["configuration"] != _configuration(network, training):
        raise CheckpointError(f"{folder}: written with another configuration; delete the folder")
    state.autoencoder.load_state_dict(_with_prefix(tensors, "weights."))
    state.best_weights = _with_prefix(tensors, "best.")
    _load_optimizer(state.optimizer, _with_prefix(tensors, "optimizer."))
    state.history = [Check(**check) for check in values["history"]]
    state.best_step = values["best_step"]
    state.best_loss = values["best_loss"]
    state.checks_without_improvement = values["checks_without_improvement"]
    state.stopped = values["stopped"]


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # The fused optimiser wants the moments in the parameter's own memory layout.
            value = torch.empty_like(parameter).copy_(value)
        moments.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _configuration(network: AutoencoderConfig, training: FitConfig) -> dict[str, Any]:
    return {"network": asdict(network), "training": asdict(training)}


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in tensors.items()}
