from pathlib import Path

import pytest
import torch

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.growth import final_phase
from dpa_core.training_state import Check, TrainingState, resume, save

NETWORK = AutoencoderConfig(16, 1, 4)
TRAINING = FitConfig()


def make(*, seed: int = 0) -> TrainingState:
    network = Autoencoder(NETWORK, seed=seed).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=TRAINING.learning_rate, fused=True)
    return TrainingState(network, optimizer)


def take_step(state: TrainingState) -> None:
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    state.optimizer.zero_grad()
    state.autoencoder(images, final_phase(NETWORK)).square().mean().backward()
    state.optimizer.step()


def record(state: TrainingState, *losses: float | None, min_improvement: float = 0.0) -> None:
    for loss in losses:
        state.record(Check(state.step + 10, 1.0, loss, 0.0), min_improvement)


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


def test_restores_the_weights_of_the_best_check() -> None:
    state = make()
    take_step(state)
    best = {key: value.clone() for key, value in state.autoencoder.state_dict().items()}
    record(state, 1.0)
    take_step(state)
    record(state, 2.0)
    state.restore_best()
    assert all(torch.equal(v, best[key]) for key, v in state.autoencoder.state_dict().items())


def test_without_held_out_images_the_last_weights_stay() -> None:
    state = make()
    record(state, None)
    take_step(state)
    last = {key: value.clone() for key, value in state.autoencoder.state_dict().items()}
    record(state, None)
    state.restore_best()
    assert (state.best_step, state.best_loss) == (20, None)
    assert all(torch.equal(v, last[key]) for key, v in state.autoencoder.state_dict().items())


def test_resumed_state_equals_the_saved_one_and_goes_on_like_it(tmp_path: Path) -> None:
    state, other = make(), make(seed=1)
    take_step(state)
    record(state, 2.0)
    take_step(state)
    record(state, 3.0)
    save(state, tmp_path, NETWORK, TRAINING)
    resume(other, tmp_path, NETWORK, TRAINING)

    for name in ("history", "best_step", "best_loss", "checks_without_improvement", "stopped"):
        assert getattr(other, name) == getattr(state, name)
    for key, value in state.best_weights.items():
        assert torch.equal(other.best_weights[key], value)
    for _ in range(2):
        take_step(state)
        take_step(other)
    for key, value in state.autoencoder.state_dict().items():
        assert torch.equal(other.autoencoder.state_dict()[key], value)


def test_an_empty_folder_changes_nothing(tmp_path: Path) -> None:
    state = make()
    resume(state, tmp_path, NETWORK, TRAINING)
    assert (state.step, state.seconds, state.history) == (0, 0.0, [])
