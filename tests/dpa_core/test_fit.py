from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpa_core.config import AutoencoderConfig, FitConfig
from dpa_core.errors import ConfigError, DivergedError
from dpa_core.features import FeatureExtractor
from dpa_core.fit import Fitted, fit
from dpa_core.loss import ReconstructionLoss
from dpa_core.score import score
from dpa_core.training_state import Check

Images = NDArray[np.uint8]
SmallFit = Callable[..., Fitted]
Losses = list[tuple[int, float, float | None]]
NEVER = 1e9  # no improvement is as large


def steps_of(fitted: Fitted) -> list[int]:
    return [check.step for check in fitted.history]


def test_learns_an_easy_set(small_fit: SmallFit) -> None:
    fitted = small_fit({"max_steps": 120})
    assert fitted.best_loss is not None
    assert fitted.best_loss < 0.7 * fitted.history[0].train_loss
    assert fitted.best_loss == min(check.held_out_loss or 0 for check in fitted.history)


def test_stops_when_patience_is_spent(small_fit: SmallFit) -> None:
    fitted = small_fit({"min_improvement": NEVER, "patience": 3})
    assert steps_of(fitted) == [5, 10, 15, 20]
    assert fitted.best_step == 5


def test_stops_by_the_rule_on_a_noisy_curve(small_fit: SmallFit) -> None:
    patience = 2
    fitted = small_fit(
        {"learning_rate": 0.01, "max_steps": 200, "check_every": 1, "patience": patience}
    )
    losses = [check.held_out_loss or np.nan for check in fitted.history]
    best = int(np.argmin(losses))
    assert best > 0 and len(losses) == best + 1 + patience
    assert fitted.best_step == fitted.history[best].step
    runs = [np.argmin(losses[: n + 1]) + patience > n for n in range(len(losses) - 1)]
    assert all(runs)  # it did not go on beyond an earlier occasion to stop


def test_returns_the_weights_of_the_best_step(
    small_fit: SmallFit, loss: ReconstructionLoss, held_out: Images
) -> None:
    fitted = small_fit({"min_improvement": NEVER})
    scores = score(fitted.autoencoder, loss, held_out)
    assert scores.mean() == pytest.approx(fitted.best_loss, rel=1e-5)
    assert fitted.best_loss != pytest.approx(fitted.history[-1].held_out_loss, rel=1e-2)


def test_only_training_and_its_validation_are_in_bfloat16(
    small_fit: SmallFit,
    loss: ReconstructionLoss,
    held_out: Images,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    forward = FeatureExtractor.forward

    def watched(self: FeatureExtractor, images: Any, layers: Any, precision: str) -> Any:
        asked.append(precision)
        return forward(self, images, layers, precision)

    monkeypatch.setattr(FeatureExtractor, "forward", watched)
    fitted = small_fit({"precision": "bfloat16", "max_steps": 5})
    assert set(asked) == {"bfloat16"}
    asked.clear()
    scores = score(fitted.autoencoder, loss, held_out)
    assert set(asked) == {"float32"}
    assert scores.mean() == pytest.approx(fitted.best_loss, rel=0.02)
    assert scores.mean() != fitted.best_loss


def test_without_held_out_images_it_takes_max_steps(small_fit: SmallFit) -> None:
    fitted = small_fit({"max_steps": 12}, held_out=None)
    assert steps_of(fitted) == [5, 10, 12]
    assert (fitted.best_step, fitted.best_loss) == (12, None)
    assert all(check.held_out_loss is None for check in fitted.history)


def test_train_loss_is_the_mean_over_the_steps(small_fit: SmallFit) -> None:
    each = small_fit({"max_steps": 6, "check_every": 1}, held_out=None)
    pairs = small_fit({"max_steps": 6, "check_every": 3}, held_out=None)
    losses = np.array([check.train_loss for check in each.history]).reshape(2, 3)
    found = [check.train_loss for check in pairs.history]
    np.testing.assert_allclose(found, losses.mean(axis=1), rtol=1e-5)


def test_on_check_sees_every_validation_and_may_stop(small_fit: SmallFit) -> None:
    seen: list[Check] = []

    def third(check: Check) -> bool:
        seen.append(check)
        return len(seen) == 3

    fitted = small_fit(on_check=third)
    assert tuple(seen) == fitted.history
    assert steps_of(fitted) == [5, 10, 15]
    seconds = [check.seconds for check in seen]
    assert seconds == sorted(seconds) and seconds[0] > 0


@pytest.mark.parametrize("flips", [False, True])
def test_one_seed_gives_identical_bits(
    small_fit: SmallFit,
    assert_identical: Callable[[Fitted, Fitted], None],
    losses_of: Callable[[Fitted], Losses],
    flips: bool,
) -> None:
    changes = {"flips": flips, "seed": 5}
    one = small_fit(changes)
    assert_identical(one, small_fit(changes))
    assert losses_of(small_fit(changes | {"seed": 6})) != losses_of(one)


def test_cached_features_change_nothing(
    small_fit: SmallFit, losses_of: Callable[[Fitted], Losses]
) -> None:
    with_cache, without = (
        np.array(losses_of(small_fit({"max_steps": 5, "feature_cache_bytes": budget})), float)
        for budget in (1 << 30, 0)
    )
    np.testing.assert_allclose(with_cache, without, rtol=1e-3)


@pytest.mark.parametrize("validated", [False, True])
def test_divergence_stops_at_the_next_check(small_fit: SmallFit, validated: bool) -> None:
    keywords = {} if validated else {"held_out": None}
    with pytest.raises(DivergedError, match=r"not finite at step 5; lower learning_rate"):
        small_fit({"learning_rate": 1e6}, **keywords)


def test_held_out_images_are_needed_where_promised(small_fit: SmallFit, train: Images) -> None:
    with pytest.raises(ConfigError, match="held_out must hold at least one image"):
        small_fit(held_out=train[:0])
    with pytest.raises(ConfigError, match="at least 16 px"):
        small_fit(held_out=train[:, :8, :8])


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_on_cuda(
    make_loss: Callable[..., ReconstructionLoss],
    network: AutoencoderConfig,
    training: FitConfig,
    train: Images,
    held_out: Images,
    compiled: bool,
) -> None:
    on_cpu = fit(network, training, make_loss("r22"), train, held_out=held_out)
    loss = make_loss("r22")
    loss.extractor.cuda()
    training = replace(training, compile=compiled)
    on_cuda = fit(network, training, loss, train, held_out=held_out)
    assert next(on_cuda.autoencoder.parameters()).is_cuda
    assert on_cuda.history[0].train_loss == pytest.approx(on_cpu.history[0].train_loss, rel=0.2)
    assert on_cuda.best_loss == pytest.approx(on_cpu.best_loss, rel=0.2)
