"""What a training carries from one validation to the next, and how it is resumed exactly.

A checkpoint folder holds `checkpoint.json` and the tensors files that it names with their SHA-256.
The JSON file is replaced last, in one step, and still names the checkpoint before, so a kill at any
moment leaves a whole checkpoint, and a damaged newest file costs one checkpoint and not the
training. Nothing here can run code.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.errors import CheckpointError
from dpa_core.learner import Learner, with_prefix
from dpa_core.tensor_files import check_finite, check_size, read_header

_INDEX = "checkpoint.json"
_KEPT = 2  # the newest and the one before

Configuration = Mapping[str, Any]
"""What a checkpoint belongs to, as JSON values."""


@dataclass(frozen=True)
class Check:
    """One validation.

    Attributes:
        step: after which it was made.
        train_loss: mean over images and over the steps since the validation before.
        held_out_loss: mean over the images that are held out, None where there are none.
        seconds: since the start of the training.
    """

    step: int
    train_loss: float
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

    def finished(self, training: FitConfig) -> bool:
        """Whether the training ends here: told to, out of steps, or out of patience."""
        return (
            self.stopped
            or self.step >= training.max_steps
            or self.checks_without_improvement >= training.patience
        )

    def restore_best(self) -> None:
        """Put the best weights back into the network."""
        if self.best_weights:
            self.network.load_state_dict(self.best_weights)


def configuration(
    network: AutoencoderConfig, training: FitConfig, loss: LossConfig
) -> Configuration:
    """What a checkpoint belongs to, as it is read back from JSON."""
    values = {"network": asdict(network), "training": asdict(training), "loss": asdict(loss)}
    from_json: Configuration = json.loads(json.dumps(values))
    return from_json


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
    newest = load_checkpoint(folder)
    if newest is None:
        return
    tensors, values = newest
    if values.get("configuration") != belongs_to:
        raise CheckpointError(f"{folder}: written with another configuration; delete the folder")
    try:
        state.best_weights = with_prefix(tensors, "best.")
        for name, learner in learners.items():
            learner.load(with_prefix(tensors, f"{name}."))
        state.history = [Check(**check) for check in values["history"]]
        state.best_step = values["best_step"]
        state.best_loss = values["best_loss"]
        state.checks_without_improvement = values["checks_without_improvement"]
        state.stopped = values["stopped"]
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        what = f"does not hold this training ({' '.join(str(error).split())[:200]})"
        raise CheckpointError(f"{folder}: {what}; delete the folder") from error


def save_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, name: str
) -> None:
    """Write `tensors` and the JSON-serialisable `state` as the newest checkpoint of `folder`.

    Args:
        folder: made where missing.
        tensors: on any device.
        state: whatever belongs to the tensors.
        name: stem of the tensors file, unique within the folder, e.g. `step-003000`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save_tensors(
        {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    )
    file = f"{name}.safetensors"
    _write_atomically(folder / file, content)
    newest = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "state": dict(state)}
    entries = [newest, *(entry for entry in _entries(folder) if entry["file"] != file)][:_KEPT]
    _write_atomically(folder / _INDEX, json.dumps(entries, indent=1).encode())
    kept = {folder / entry["file"] for entry in entries}
    leftovers = folder.glob(".*.part")  # of a process that was killed while it wrote
    for old in {*folder.glob("*.safetensors"), *leftovers} - kept:
        old.unlink()


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest checkpoint that is whole, or None where there is none.

    Raises:
        CheckpointError: there are checkpoints, and every one is damaged.
    """
    entries = _entries(folder)
    for entry in entries:
        tensors = _load_tensors(folder / entry["file"], entry["sha256"])
        if tensors is not None:
            return tensors, entry["state"]
        warnings.warn(f"{folder / entry['file']} is damaged; trying the one before", stacklevel=2)
    if entries:
        raise CheckpointError(f"{folder}: every checkpoint is damaged; delete the folder")
    return None


def _entries(folder: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads((folder / _INDEX).read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / _INDEX} is not JSON; delete the folder") from error
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict)
        and isinstance(entry.get("file"), str)
        and isinstance(entry.get("sha256"), str)
        and isinstance(entry.get("state"), dict)
        for entry in entries
    ):
        raise CheckpointError(
            f"{folder / _INDEX} is not an index of checkpoints; delete the folder"
        )
    if not all(Path(entry["file"]).name == entry["file"] for entry in entries):
        raise CheckpointError(f"{folder / _INDEX} names a file outside its folder")
    return entries


def _load_tensors(path: Path, sha256: str) -> dict[str, Tensor] | None:
    try:
        check_size(path)
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        read_header(path)
        tensors = load(content)
        for name, value in tensors.items():
            check_finite(name, value)
    except (OSError, SafetensorError):
        return None
    return tensors


def _write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if os.name == "posix":  # a rename is durable once its folder is; Windows opens no folders
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
