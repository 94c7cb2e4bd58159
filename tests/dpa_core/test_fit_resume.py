from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpa_core.config import AutoencoderConfig, LossConfig
from dpa_core.errors import CheckpointError, DivergedError
from dpa_core.fit import Fitted
from dpa_core.loss import ReconstructionLoss
from dpa_core.training_state import Check

Images = NDArray[np.uint8]
SmallFit = Callable[..., Fitted]
AssertIdentical = Callable[[Fitted, Fitted], None]


class Interrupted(Exception):
    """Stands for a kill at a validation, before its checkpoint is written."""


def interrupt_at(number: int) -> Callable[[Check], bool]:
    """Raises at the `number`-th validation of the process."""
    left = iter(range(number, 0, -1))

    def on_check(_: Check) -> bool:
        if next(left) == 1:
            raise Interrupted
        return False

    return on_check


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("interruptions", [[1], [2], [5], [2, 3], [3, 1, 2]])
def test_resumed_training_is_identical(
    tmp_path: Path,
    small_fit: SmallFit,
    assert_identical: AssertIdentical,
    train: Images,
    larger: Images,
    interruptions: Sequence[int],
    augmented: bool,
) -> None:
    changes = {"flips": augmented, "min_improvement": 0.05}
    images = larger if augmented else train
    whole = small_fit(changes, images=images)
    kept = {"images": images, "checkpoints": tmp_path, "checkpoint_seconds": 0}
    for number in interruptions:
        with pytest.raises(Interrupted):
            small_fit(changes, on_check=interrupt_at(number), **kept)
    assert_identical(small_fit(changes, **kept), whole)


# Stages of 6 steps: 8 px, transition, 16 px, transition, 32 px. Checks of 4 steps fall within
# stabilisations (4, 16), within transitions (8, 20) and at the ends of both (12, 24).
@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_growing_resumed_at_every_check_is_identical(
    tmp_path: Path,
    small_fit: SmallFit,
    make_loss: Callable[..., ReconstructionLoss],
    assert_identical: AssertIdentical,
    stripes: Callable[[int, int, int], Images],
    adversarial: float,
) -> None:
    layers = {8: {"r12": 1.0}, 16: {"r22": 1.0}, 32: {"r22": 1.0, "r32": 0.5}}
    growing: dict[str, Any] = {
        "network": AutoencoderConfig(32, 1, latent_dim=4, start_resolution=8),
        "loss": make_loss(config=LossConfig(layers, l1=0.1, adversarial=adversarial)),
        "images": stripes(8, 32, 0),
        "held_out": stripes(4, 32, 1),
    }
    changes = {"steps_per_phase": 6, "check_every": 4, "max_steps": 32, "batch_size": 4}
    whole = small_fit(changes, **growing)
    kept = {"checkpoints": tmp_path, "checkpoint_seconds": 0}
    for check in whole.history[1:]:  # each process keeps one check and is killed at the next
        with pytest.raises(Interrupted):
            small_fit(changes, on_check=interrupt_at(2), **growing, **kept)
        assert (tmp_path / f"step-{check.step - 4:08d}.safetensors").exists()
    assert_identical(small_fit(changes, **growing, **kept), whole)


def test_training_that_has_ended_is_not_repeated(
    tmp_path: Path, small_fit: SmallFit, assert_identical: AssertIdentical
) -> None:
    def unexpected(_: Check) -> bool:
        raise AssertionError("a step was taken")

    first = small_fit(checkpoints=tmp_path, checkpoint_seconds=0)
    again = small_fit(checkpoints=tmp_path, on_check=unexpected)
    assert_identical(first, again)
    assert again.history == first.history


def test_damaged_newest_checkpoint_costs_steps_but_no_bits(
    tmp_path: Path, small_fit: SmallFit, assert_identical: AssertIdentical
) -> None:
    whole = small_fit(held_out=None)
    with pytest.raises(Interrupted):
        small_fit(
            held_out=None, on_check=interrupt_at(4), checkpoints=tmp_path, checkpoint_seconds=0
        )
    newest = tmp_path / "step-00000015.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged"):
        resumed = small_fit(held_out=None, checkpoints=tmp_path)
    assert_identical(resumed, whole)


def test_checkpoints_keep_their_distance(tmp_path: Path, small_fit: SmallFit) -> None:
    small_fit(checkpoints=tmp_path, checkpoint_seconds=3600)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("of_training", "of_network", "of_loss"),
    [
        ({"seed": 1}, {}, {}),
        ({"learning_rate": 2e-2}, {}, {}),
        ({}, {"latent_dim": 4}, {}),
        ({}, {}, {"l1": 1.0}),
        ({}, {}, {"layers": {0: {"r12": 1.0, "r22": 2.0}}}),
    ],
)
def test_checkpoint_of_another_configuration_is_refused(
    tmp_path: Path,
    small_fit: SmallFit,
    network: AutoencoderConfig,
    loss: ReconstructionLoss,
    of_training: Mapping[str, Any],
    of_network: Mapping[str, Any],
    of_loss: Mapping[str, Any],
) -> None:
    small_fit(checkpoints=tmp_path, checkpoint_seconds=0)
    other_loss = ReconstructionLoss(replace(loss.config, **of_loss), loss.extractor)
    with pytest.raises(CheckpointError, match="written with another configuration"):
        small_fit(
            of_training,
            network=replace(network, **of_network),
            loss=other_loss,
            checkpoints=tmp_path,
        )


def test_a_diverged_state_is_never_saved(tmp_path: Path, small_fit: SmallFit) -> None:
    with pytest.raises(DivergedError):
        small_fit({"learning_rate": 1e6}, checkpoints=tmp_path, checkpoint_seconds=0)
    assert not list(tmp_path.iterdir())
