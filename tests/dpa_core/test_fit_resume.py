from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.errors import CheckpointError, DivergedError
from dpa_core.features import FeatureExtractor
from dpa_core.fit import Fit, fit
from dpa_core.training_state import Check

Images = NDArray[np.uint8]
MakeExtractor = Callable[..., FeatureExtractor]
NETWORK = AutoencoderConfig(image_size=16, channels=1, latent_dim=8)
TRAINING = FitConfig(
    learning_rate=1e-2, batch_size=8, max_steps=30, check_every=5, min_improvement=0.0
)


def losses_of(fitted: Fit) -> list[tuple[int, float, float | None]]:
    return [(check.step, check.train_loss, check.held_out_loss) for check in fitted.history]


def assert_identical(one: Fit, other: Fit) -> None:
    """Bit for bit, but for the seconds."""
    assert losses_of(one) == losses_of(other)
    assert (one.best_step, one.best_loss) == (other.best_step, other.best_loss)
    weights, others = one.autoencoder.state_dict(), other.autoencoder.state_dict()
    assert all(torch.equal(value, others[key]) for key, value in weights.items())


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
    extractor: FeatureExtractor,
    train: Images,
    larger: Images,
    held_out: Images,
    interruptions: Sequence[int],
    augmented: bool,
) -> None:
    images = larger if augmented else train
    training = replace(TRAINING, flips=augmented, min_improvement=0.05)
    whole = fit(NETWORK, training, extractor, images, held_out=held_out)

    def run(on_check: Callable[[Check], bool] | None) -> Fit:
        return fit(
            NETWORK,
            training,
            extractor,
            images,
            held_out=held_out,
            on_check=on_check,
            checkpoints=tmp_path,
            checkpoint_seconds=0,
        )

    for number in interruptions:
        with pytest.raises(Interrupted):
            run(interrupt_at(number))
    assert_identical(run(None), whole)


def test_training_that_has_ended_is_not_repeated(
    tmp_path: Path, extractor: FeatureExtractor, train: Images, held_out: Images
) -> None:
    def unexpected(_: Check) -> bool:
        raise AssertionError("a step was taken")

    arguments = (NETWORK, TRAINING, extractor, train)
    first = fit(*arguments, held_out=held_out, checkpoints=tmp_path, checkpoint_seconds=0)
    again = fit(*arguments, held_out=held_out, checkpoints=tmp_path, on_check=unexpected)
    assert_identical(first, again)
    assert again.history == first.history


def test_damaged_newest_checkpoint_costs_steps_but_no_bits(
    tmp_path: Path, extractor: FeatureExtractor, train: Images
) -> None:
    whole = fit(NETWORK, TRAINING, extractor, train)
    with pytest.raises(Interrupted):
        fit(
            NETWORK,
            TRAINING,
            extractor,
            train,
            on_check=interrupt_at(4),
            checkpoints=tmp_path,
            checkpoint_seconds=0,
        )
    newest = tmp_path / "step-00000015.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged"):
        resumed = fit(NETWORK, TRAINING, extractor, train, checkpoints=tmp_path)
    assert_identical(resumed, whole)


def test_checkpoints_keep_their_distance(
    tmp_path: Path, extractor: FeatureExtractor, train: Images
) -> None:
    fit(NETWORK, TRAINING, extractor, train, checkpoints=tmp_path, checkpoint_seconds=3600)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("network", "training"),
    [
        (NETWORK, replace(TRAINING, seed=1)),
        (NETWORK, replace(TRAINING, learning_rate=2e-2)),
        (replace(NETWORK, latent_dim=4), TRAINING),
    ],
)
def test_checkpoint_of_another_configuration_is_refused(
    tmp_path: Path,
    extractor: FeatureExtractor,
    train: Images,
    network: AutoencoderConfig,
    training: FitConfig,
) -> None:
    fit(NETWORK, TRAINING, extractor, train, checkpoints=tmp_path, checkpoint_seconds=0)
    with pytest.raises(CheckpointError, match="written with another configuration"):
        fit(network, training, extractor, train, checkpoints=tmp_path)


def test_a_diverged_state_is_never_saved(
    tmp_path: Path, extractor: FeatureExtractor, train: Images
) -> None:
    training = replace(TRAINING, learning_rate=1e6)
    with pytest.raises(DivergedError):
        fit(NETWORK, training, extractor, train, checkpoints=tmp_path, checkpoint_seconds=0)
    assert not list(tmp_path.iterdir())
