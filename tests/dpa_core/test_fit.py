from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.errors import ConfigError, DivergedError
from dpa_core.features import FeatureExtractor
from dpa_core.fit import Fit, fit
from dpa_core.score import score
from dpa_core.training_state import Check

Images = NDArray[np.uint8]
MakeExtractor = Callable[..., FeatureExtractor]
NETWORK = AutoencoderConfig(image_size=16, channels=1, latent_dim=8)
TRAINING = FitConfig(
    learning_rate=1e-2, batch_size=8, max_steps=30, check_every=5, min_improvement=0.0
)
NEVER = 1e9  # no improvement is as large


def steps_of(fitted: Fit) -> list[int]:
    return [check.step for check in fitted.history]


def losses_of(fitted: Fit) -> list[tuple[int, float, float | None]]:
    return [(check.step, check.train_loss, check.held_out_loss) for check in fitted.history]


def assert_identical(one: Fit, other: Fit) -> None:
    """Bit for bit, but for the seconds."""
    assert losses_of(one) == losses_of(other)
    assert (one.best_step, one.best_loss) == (other.best_step, other.best_loss)
    weights, others = one.autoencoder.state_dict(), other.autoencoder.state_dict()
    assert all(torch.equal(value, others[key]) for key, value in weights.items())


def test_learns_an_easy_set(extractor: FeatureExtractor, train: Images, held_out: Images) -> None:
    fitted = fit(NETWORK, replace(TRAINING, max_steps=120), extractor, train, held_out=held_out)
    assert fitted.best_loss is not None
    assert fitted.best_loss < 0.7 * fitted.history[0].train_loss
    assert fitted.best_loss == min(check.held_out_loss or 0 for check in fitted.history)


def test_stops_when_patience_is_spent(
    extractor: FeatureExtractor, train: Images, held_out: Images
) -> None:
    training = replace(TRAINING, min_improvement=NEVER, patience=3)
    fitted = fit(NETWORK, training, extractor, train, held_out=held_out)
    assert steps_of(fitted) == [5, 10, 15, 20]
    assert fitted.best_step == 5


def test_stops_by_the_rule_on_a_noisy_curve(
    extractor: FeatureExtractor, train: Images, held_out: Images
) -> None:
    training = replace(TRAINING, learning_rate=0.1, max_steps=200, check_every=2, patience=2)
    fitted = fit(NETWORK, training, extractor, train, held_out=held_out)
    losses = [check.held_out_loss or np.nan for check in fitted.history]
    best = int(np.argmin(losses))
    assert best > 0 and len(losses) == best + 1 + training.patience
    assert fitted.best_step == fitted.history[best].step
    runs = [np.argmin(losses[: n + 1]) + training.patience > n for n in range(len(losses) - 1)]
    assert all(runs)  # it did not go on beyond an earlier occasion to stop


def test_returns_the_weights_of_the_best_step(
    extractor: FeatureExtractor, train: Images, held_out: Images
) -> None:
    training = replace(TRAINING, min_improvement=NEVER)
    fitted = fit(NETWORK, training, extractor, train, held_out=held_out)
    scores = score(fitted.autoencoder, extractor, held_out)
    assert scores.mean() == pytest.approx(fitted.best_loss, rel=1e-5)
    assert fitted.best_loss != pytest.approx(fitted.history[-1].held_out_loss, rel=1e-2)


def test_without_held_out_images_it_takes_max_steps(
    extractor: FeatureExtractor, train: Images
) -> None:
    fitted = fit(NETWORK, replace(TRAINING, max_steps=12), extractor, train)
    assert steps_of(fitted) == [5, 10, 12]
    assert (fitted.best_step, fitted.best_loss) == (12, None)
    assert all(check.held_out_loss is None for check in fitted.history)


def test_train_loss_is_the_mean_over_the_steps(extractor: FeatureExtractor, train: Images) -> None:
    each = fit(NETWORK, replace(TRAINING, max_steps=6, check_every=1), extractor, train)
    pairs = fit(NETWORK, replace(TRAINING, max_steps=6, check_every=3), extractor, train)
    losses = np.array([check.train_loss for check in each.history]).reshape(2, 3)
    found = [check.train_loss for check in pairs.history]
    np.testing.assert_allclose(found, losses.mean(axis=1), rtol=1e-5)


def test_on_check_sees_every_validation_and_may_stop(
    extractor: FeatureExtractor, train: Images, held_out: Images
) -> None:
    seen: list[Check] = []

    def third(check: Check) -> bool:
        seen.append(check)
        return len(seen) == 3

    fitted = fit(NETWORK, TRAINING, extractor, train, held_out=held_out, on_check=third)
    assert tuple(seen) == fitted.history
    assert steps_of(fitted) == [5, 10, 15]
    seconds = [check.seconds for check in seen]
    assert seconds == sorted(seconds) and seconds[0] > 0


@pytest.mark.parametrize("flips", [False, True])
def test_one_seed_gives_identical_bits(
    extractor: FeatureExtractor, train: Images, held_out: Images, flips: bool
) -> None:
    training = replace(TRAINING, flips=flips, seed=5)
    one, other = (fit(NETWORK, training, extractor, train, held_out=held_out) for _ in range(2))
    assert_identical(one, other)
    np.testing.assert_array_equal(
        score(one.autoencoder, extractor, held_out), score(other.autoencoder, extractor, held_out)
    )
    third = fit(NETWORK, replace(training, seed=6), extractor, train, held_out=held_out)
    assert losses_of(third) != losses_of(one)


def test_cached_features_change_nothing(
    extractor: FeatureExtractor, train: Images, held_out: Images
) -> None:
    with_cache, without = (
        fit(
            NETWORK,
            replace(TRAINING, max_steps=10, feature_cache_bytes=budget),
            extractor,
            train,
            held_out=held_out,
        )
        for budget in (1 << 30, 0)
    )
    np.testing.assert_allclose(
        np.array(losses_of(with_cache), float), np.array(losses_of(without), float), rtol=1e-3
    )


@pytest.mark.parametrize("validated", [False, True])
def test_divergence_stops_at_the_next_check(
    extractor: FeatureExtractor, train: Images, held_out: Images, validated: bool
) -> None:
    training = replace(TRAINING, learning_rate=1e6)
    with pytest.raises(DivergedError, match=r"not finite at step 5; lower learning_rate"):
        fit(NETWORK, training, extractor, train, held_out=held_out if validated else None)


def test_held_out_images_are_needed_where_promised(
    extractor: FeatureExtractor, train: Images
) -> None:
    with pytest.raises(ConfigError, match="held_out must hold at least one image"):
        fit(NETWORK, TRAINING, extractor, train, held_out=train[:0])
    with pytest.raises(ConfigError, match="at least 16 px"):
        fit(NETWORK, TRAINING, extractor, train, held_out=train[:, :8, :8])


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_on_cuda(
    make_extractor: MakeExtractor, train: Images, held_out: Images, compiled: bool
) -> None:
    on_cpu = fit(NETWORK, TRAINING, make_extractor("r22"), train, held_out=held_out)
    training = replace(TRAINING, compile=compiled)
    on_cuda = fit(NETWORK, training, make_extractor("r22").cuda(), train, held_out=held_out)
    assert next(on_cuda.autoencoder.parameters()).is_cuda
    assert on_cuda.history[0].train_loss == pytest.approx(on_cpu.history[0].train_loss, rel=0.2)
    assert on_cuda.best_loss == pytest.approx(on_cpu.best_loss, rel=0.2)
