"""What a training carries from one validation to the next, and how it is resumed exactly."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dpa_core.checkpoint import load_checkpoint, save_checkpoint
from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.errors import CheckpointError
from dpa_core.learner import Learner, with_prefix

Configuration = Mapping[str, Any]
"""What a checkpoint belongs to, as JSON values."""


@dataclass(frozen=True)
class Check:
    """One validation: losses are means over images, `seconds` count from the start of training."""

    step: int
    train_loss: float  # over the steps since the validation before
    held_out_loss: float | None
    seconds: float


class TrainingState:
    """The validations so far, the best weights, and the count towards early stopping.

    Args:
        network: whose best weights are kept.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
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

    def record(self, check: Check, min_improvement: float, *, full_size: bool) -> None:
        """Add a validation; keep the weights where they are the best so far.

        Args:
            check: what was found.
            min_improvement: of the held-out loss, less does not count as better.
            full_size: the network has grown: losses at lower resolutions cannot be compared.
        """
        self.history.append(check)
        loss = check.held_out_loss
        if loss is None or not full_size:  # nothing to choose by: the last weights are the ones
            self.best_step = check.step
        elif self.best_loss is None or loss < self.best_loss - min_improvement:
            self.best_step, self.best_loss = check.step, loss
            self.best_weights = {
                key: value.detach().clone() for key, value in self.network.state_dict().items()
            }
            self.checks_without_improvement = 0
        else:
            self.checks_without_improvement += 1

    def restore_best(self) -> None:
        """Put the best weights back into the network."""
        if self.best_weights:
            self.network.load_state_dict(self.best_weights)


def configuration(
    network: AutoencoderConfig, training: FitConfig, loss: LossConfig
) -> Configuration:
    """What a checkpoint belongs to, as it is read back from JSON."""
    values = {"network": asdict(network), "training": asdict(training), "loss": asdict(loss)}
    found: Configuration = json.loads(json.dumps(values))
    return found


def save(
    state: TrainingState,
    learners: Mapping[str, Learner],
    folder: Path,
    belongs_to: Configuration,
) -> None:
    """Write the state as the newest checkpoint of `folder`."""
    tensors = {f"best.{key}": value for key, value in state.best_weights.items()}
    for name, learner in learners.items():
        tensors |= {f"{name}.{key}": value for key, value in learner.tensors().items()}
    values = {
        "configuration": belongs_to,
        "history": [asdict(check) for check in state.history],
        "best_step": state.best_step,
        "best_loss": state.best_loss,
        "checks_without_improvement": state.checks_without_improvement,
        "stopped": state.stopped,
    }
    save_checkpoint(folder, tensors, values, name=f"step-{state.step:08d}")


def resume(
    state: TrainingState,
    learners: Mapping[str, Learner],
    folder: Path,
    belongs_to: Configuration,
) -> None:
    """Fill `state` and `learners` from the newest checkpoint of `folder`, if there is one.

    Raises:
        CheckpointError: it was written under another configuration, or is damaged.
    """
    found = load_checkpoint(folder)
    if found is None:
        return
    tensors, values = found
    if values.get("configuration") != belongs_to:
        raise CheckpointError(f"{folder}: written with another configuration; delete the folder")
    try:
        _fill(state, learners, tensors, values)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        what = f"does not hold this training ({' '.join(str(error).split())[:200]})"
        raise CheckpointError(f"{folder}: {what}; delete the folder") from error


def _fill(
    state: TrainingState,
    learners: Mapping[str, Learner],
    tensors: dict[str, Tensor],
    values: Mapping[str, Any],
) -> None:
    state.best_weights = with_prefix(tensors, "best.")
    for name, learner in learners.items():
        learner.load(with_prefix(tensors, f"{name}."))
    state.history = [Check(**check) for check in values["history"]]
    state.best_step = values["best_step"]
    state.best_loss = values["best_loss"]
    state.checks_without_improvement = values["checks_without_improvement"]
    state.stopped = values["stopped"]
