from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.errors import CheckpointError
from dpa_core.growth import final_phase
from dpa_core.learner import Learner
from dpa_core.training_state import (
    Check,
    TrainingState,
    configuration,
    load_checkpoint,
    resume,
    save,
    save_checkpoint,
)

NETWORK = AutoencoderConfig(16, 1, 4)
BELONGS_TO = configuration(NETWORK, FitConfig(), LossConfig({0: {"r12": 1.0}}))


def make_learners(*, seed: int = 0) -> dict[str, Learner]:
    """Two networks, as with a critic."""
    networks = (Autoencoder(NETWORK, seed=seed + k) for k in range(2))
    one, two = (network.to(memory_format=torch.channels_last) for network in networks)
    return {"one": Learner(one, 1e-3), "two": Learner(two, 1e-2)}


def take_step(learner: Learner) -> None:
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    learner.descend(learner.network(images, final_phase(NETWORK)).square().mean())


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in learner.network.state_dict().items()}


def make() -> TrainingState:
    return TrainingState(make_learners()["one"].network)


def record(
    state: TrainingState,
    *losses: float | None,
    min_improvement: float = 0.0,
    full_size: bool = True,
) -> None:
    for loss in losses:
        check = Check(state.step + 10, 1.0, loss, 0.0)
        state.record(check, min_improvement, full_size=full_size)


@pytest.mark.parametrize(
    ("losses", "best_step", "best_loss", "without"),
    [
        ([3.0], 10, 3.0, 0),
        ([3.0, 2.0, 1.0], 30, 1.0, 0),
        ([3.0, 2.95, 2.91], 10, 3.0, 2),  # each better, none by 0.1
        ([3.0, 2.95, 2.89, 2.9], 30, 2.89, 1),  # counted from the best, not from the last
        ([3.0, 3.5, 2.0, 2.5, 2.0], 30, 2.0, 2),
    ],
)
def test_counts_improvements_that_are_large_enough(
    losses: list[float], best_step: int, best_loss: float, without: int
) -> None:
    state = make()
    record(state, *losses, min_improvement=0.1)
    assert (state.best_step, state.best_loss) == (best_step, best_loss)
    assert state.checks_without_improvement == without
    assert state.step == 10 * len(losses)


def test_losses_of_lower_resolutions_do_not_compete() -> None:
    state = make()
    record(state, 0.1, 0.2, full_size=False)
    assert (state.best_step, state.best_loss, state.checks_without_improvement) == (20, None, 0)
    assert not state.best_weights
    record(state, 3.0, 2.0, 4.0)
    assert (state.best_step, state.best_loss, state.checks_without_improvement) == (40, 2.0, 1)


def test_restores_the_weights_of_the_best_check() -> None:
    learner = make_learners()["one"]
    state = TrainingState(learner.network)
    take_step(learner)
    best = weights(learner)
    record(state, 1.0)
    take_step(learner)
    record(state, 2.0)
    state.restore_best()
    torch.testing.assert_close(weights(learner), best, rtol=0, atol=0)


def test_without_held_out_images_the_last_weights_stay() -> None:
    learner = make_learners()["one"]
    state = TrainingState(learner.network)
    record(state, None)
    take_step(learner)
    last = weights(learner)
    record(state, None)
    state.restore_best()
    assert (state.best_step, state.best_loss) == (20, None)
    torch.testing.assert_close(weights(learner), last, rtol=0, atol=0)


def test_resumed_state_equals_the_saved_one_and_goes_on_like_it(tmp_path: Path) -> None:
    learners, others = make_learners(), make_learners(seed=5)
    state, other = (TrainingState(each["one"].network) for each in (learners, others))
    for loss in (2.0, 3.0):
        for learner in learners.values():
            take_step(learner)
        record(state, loss)
    save(state, learners, tmp_path, BELONGS_TO)
    resume(other, others, tmp_path, BELONGS_TO)

    for name in ("history", "best_step", "best_loss", "checks_without_improvement", "stopped"):
        assert getattr(other, name) == getattr(state, name)
    torch.testing.assert_close(other.best_weights, state.best_weights, rtol=0, atol=0)
    for name, learner in learners.items():
        for each in (learner, others[name]):
            take_step(each)
            take_step(each)
        torch.testing.assert_close(weights(others[name]), weights(learner), rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, values: tensors.clear(),
        lambda tensors, values: tensors.update({"one.weights.extra": torch.ones(1)}),
        lambda tensors, values: tensors.update(
            {key: torch.ones(99) for key in tensors if ".weights." in key}
        ),
        lambda tensors, values: tensors.update({"one.optimizer.77.exp_avg": torch.ones(1)}),
        lambda tensors, values: tensors.update({"one.optimizer.exp_avg": torch.ones(1)}),
        lambda tensors, values: values.pop("history"),
        lambda tensors, values: values.update(history=[{"when": 3}]),
        lambda tensors, values: values.update(history=7),
        lambda tensors, values: values.pop("configuration"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any]
) -> None:
    learners = make_learners()
    state = TrainingState(learners["one"].network)
    take_step(learners["one"])
    record(state, 1.0)
    save(state, learners, tmp_path, BELONGS_TO)
    found = load_checkpoint(tmp_path)
    assert found is not None
    change(*found)
    save_checkpoint(tmp_path, *found, name="altered")
    with pytest.raises(CheckpointError, match="; delete the folder") as caught:
        resume(make(), make_learners(), tmp_path, BELONGS_TO)
    assert str(caught.value).isprintable()


def test_an_empty_folder_changes_nothing(tmp_path: Path) -> None:
    state = make()
    resume(state, make_learners(), tmp_path, BELONGS_TO)
    assert (state.step, state.seconds, state.history) == (0, 0.0, [])
