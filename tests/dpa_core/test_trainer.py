"""The steps of a training: growing, the critic beside it, and optimisers that start afresh."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dpa_core.autoencoder import Autoencoder
from dpa_core.config import AutoencoderConfig, FitConfig, LossConfig
from dpa_core.errors import ConfigError
from dpa_core.fit import Fitted, Trainer, Validation
from dpa_core.growth import Phase
from dpa_core.learner import Learner
from dpa_core.loss import ReconstructionLoss

Images = NDArray[np.uint8]
MakeTrainer = Callable[..., Trainer]
NETWORK = AutoencoderConfig(32, 1, latent_dim=4, start_resolution=8)
TRAINING = FitConfig(learning_rate=1e-2, batch_size=4, steps_per_phase=3)
LAYERS = {8: {"r12": 1.0}, 16: {"r22": 1.0}}


@pytest.fixture
def make_trainer(
    make_loss: Callable[..., ReconstructionLoss], stripes: Callable[..., Images]
) -> MakeTrainer:
    def make(**weights: float) -> Trainer:
        loss = make_loss(config=LossConfig(LAYERS, **weights))
        return Trainer(NETWORK, TRAINING, loss, torch.from_numpy(stripes(8, 32, 0)))

    return make


def weights_of(learner: Learner) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in learner.network.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {key for key, value in before.items() if not torch.equal(value, after[key])}


def steps_of_moments(learner: Learner) -> set[float]:
    return {float(moments["step"]) for moments in learner.optimizer.state.values()}


@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_each_stage_begins_with_a_fresh_optimiser(
    make_trainer: MakeTrainer, adversarial: float
) -> None:
    trainer = make_trainer(adversarial=adversarial)
    assert set(trainer.learners) == {"autoencoder"} | ({"critic"} if adversarial else set())
    for step in range(14):  # stages of 3 steps, the fifth and last without an end
        trainer.step(step)
        in_stage = step % 3 + 1 if step < 12 else step - 11
        assert steps_of_moments(trainer.learners["autoencoder"]) == {in_stage}
        if adversarial:  # two critic steps for each of the autoencoder's
            assert steps_of_moments(trainer.learners["critic"]) == {2 * in_stage}


def test_a_step_trains_the_layers_of_its_phase_alone(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    learner = trainer.learners["autoencoder"]
    before = weights_of(learner)
    trainer.step(0)  # 8 px
    first = changed(before, weights_of(learner))
    assert any(key.startswith("encoder.from_image.8.") for key in first)
    assert not any(".16." in key or ".32." in key for key in first)
    trainer.step(4)  # from 8 to 16 px
    both = changed(before, weights_of(learner))
    assert any(key.startswith("encoder.from_image.16.") for key in both)
    assert not any(".32." in key for key in both)


def test_a_transition_below_full_size_is_that_of_the_authors(make_trainer: MakeTrainer) -> None:
    """Both copies are bilinear of the full size; what is compared with is what was fed."""
    trainer = make_trainer()
    alpha, phase = 1 / 3, Phase(16, 1 / 3)
    images = trainer.batches.at(4).images  # (4, 1, 32, 32)
    fine, coarse = (
        functional.interpolate(images, scale_factor=scale, mode="bilinear")
        for scale in (1 / 2, 1 / 4)
    )
    fed = alpha * fine + (1 - alpha) * functional.interpolate(coarse, scale_factor=2.0)
    with torch.no_grad():
        rebuilt = trainer.autoencoder(fed, phase)
        at_16 = trainer.loss(fed, rebuilt, Phase(16))
        halves = (
            functional.interpolate(pixels, scale_factor=0.5, mode="bilinear")
            for pixels in (fed, rebuilt)
        )
        at_8 = trainer.loss(*halves, Phase(8))
    expected = (alpha * at_16 + (1 - alpha) * at_8).mean()
    torch.testing.assert_close(trainer.step(4), expected)


def test_the_critic_leans_on_the_autoencoder_and_not_the_other_way(
    make_trainer: MakeTrainer,
) -> None:
    alone, judged = make_trainer(), make_trainer(adversarial=10.0)
    for step in range(2):
        alone.step(step)
        judged.step(step)
    own, other = (weights_of(trainer.learners["autoencoder"]) for trainer in (alone, judged))
    assert changed(own, other)  # the verdict had its part in the gradient
    critic = judged.learners["critic"].network
    assert all(p.requires_grad for p in critic.parameters())
    before = {name: p.grad.clone() for name, p in critic.named_parameters() if p.grad is not None}
    adversary = judged.adversary
    assert adversary is not None
    image = torch.zeros(2, 1, 32, 32, requires_grad=True)
    adversary.loss(image, Phase(32)).backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None and image.grad.any()
    after = {name: p.grad for name, p in critic.named_parameters() if p.grad is not None}
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_the_critic_has_the_weight_that_was_asked_for(make_trainer: MakeTrainer) -> None:
    """The first step's gradient is that of the reconstruction and the weighted verdict's."""

    def gradients(weight: float) -> Tensor:
        trainer = make_trainer(adversarial=weight)
        trainer.step(0)
        given = [p.grad for p in trainer.autoencoder.parameters() if p.grad is not None]
        return torch.cat([gradient.flatten() for gradient in given])

    without, one, three = (gradients(weight) for weight in (0.0, 1.0, 3.0))
    assert (one - without).abs().max() > 1e-3
    torch.testing.assert_close(three - without, 3 * (one - without), rtol=1e-3, atol=1e-5)


def test_growing_learns_and_chooses_at_full_size(
    small_fit: Callable[..., Fitted],
    make_loss: Callable[..., ReconstructionLoss],
    stripes: Callable[..., Images],
) -> None:
    fitted = small_fit(
        {"max_steps": 200, "steps_per_phase": 15, "check_every": 20},
        network=AutoencoderConfig(32, 1, latent_dim=4, latent_res=4, start_resolution=8),
        loss=make_loss(config=LossConfig(LAYERS)),
        images=stripes(24, 32, 0),
        held_out=stripes(8, 32, 1),
    )
    at_full_size = [check for check in fitted.history if check.step > 60]
    assert fitted.best_loss == min(check.held_out_loss or 9 for check in at_full_size)
    assert fitted.best_step > 60
    assert fitted.best_loss < 0.8 * (at_full_size[0].held_out_loss or 0)


def test_a_validation_at_the_end_of_growing_is_not_one_at_full_size(
    small_fit: Callable[..., Fitted], make_loss: Callable[..., ReconstructionLoss]
) -> None:
    """The last step of the last transition still sees the lower resolution."""
    fitted = small_fit(
        {"max_steps": 12, "steps_per_phase": 2, "check_every": 4, "min_improvement": 1e9},
        network=replace(NETWORK, image_size=16),
        loss=make_loss(config=LossConfig(LAYERS)),
    )
    assert [check.step for check in fitted.history] == [4, 8, 12]  # grown after 4 steps
    assert fitted.best_step == 8  # the first at full size, for none improves on it


def test_a_validation_is_of_the_network_of_the_step_before_it(
    small_fit: Callable[..., Fitted],
    make_loss: Callable[..., ReconstructionLoss],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its resolution and its alpha; the next step's may be of layers that are not trained yet."""
    asked: list[Phase] = []
    validate = Validation.__call__

    def watched(self: Validation, autoencoder: Autoencoder, phase: Phase) -> float:
        asked.append(phase)
        return validate(self, autoencoder, phase)

    monkeypatch.setattr(Validation, "__call__", watched)
    small_fit(
        {"max_steps": 6, "steps_per_phase": 2, "check_every": 1},
        network=replace(NETWORK, image_size=16),
        loss=make_loss(config=LossConfig(LAYERS)),
    )
    fading_in = [Phase(16, 0.0), Phase(16, 0.5)]
    assert asked == [Phase(8), Phase(8), *fading_in, Phase(16), Phase(16)]


def test_there_must_be_time_to_grow(small_fit: Callable[..., Fitted]) -> None:
    with pytest.raises(ConfigError) as caught:
        small_fit({"max_steps": 60, "steps_per_phase": 15}, network=NETWORK)
    assert str(caught.value) == (
        "max_steps must be above 60, the steps that growing from 8 to 32 px takes, got 60"
    )
