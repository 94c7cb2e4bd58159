import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save

import hpsearch.detectors.dpa
from dpa_core.autoencoder import Autoencoder
from dpa_core.errors import DivergedError
from dpa_core.growth import Phase
from dpa_core.training_state import configuration
from dpa_core.vgg import VGG19, VGG_MINI
from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors.backbones.backbone import architecture_of
from hpsearch.detectors.backbones.statistics import compute_statistics
from hpsearch.detectors.base import CURVE_COLUMNS, ImageView, Setup
from hpsearch.detectors.dpa import PerceptualAutoencoder
from hpsearch.errors import SpecError, TaskError, WeightsError

View = Callable[[slice], ImageView]
PLAIN = {
    "loss": "perceptual",
    "start_resolution": 0,
    "steps_per_phase": 20_000,
    "statistics": "natural",
}
SMALL = PLAIN | {"latent_dim": 2, "latent_res": 4, "layers": "r12"}
QUICK = {"max_steps": 30, "batch_size": 8, "check_every": 10}
SIXTY_THOUSAND = TrainingSpec(max_steps=60_000)


@pytest.mark.parametrize(("dim", "res"), [(3, 1), (3, 4), (5, 8)])
def test_the_size_is_the_numbers_in_the_bottleneck(dim: int, res: int) -> None:
    """By which the pick among configurations that tie takes the smallest."""
    params = SMALL | {"resolution": 16, "latent_dim": dim, "latent_res": res}
    autoencoder = Autoencoder(hpsearch.detectors.dpa._network(params, channels=3))
    bottleneck = autoencoder.encoder(torch.zeros(1, 3, 16, 16), Phase(16))
    assert PerceptualAutoencoder.size(params) == bottleneck.numel()


def test_a_batch_of_ones_own_is_kept() -> None:
    params = SMALL | {"resolution": 64, "latent_dim": 64, "latent_res": 1}
    for asked, taken in ((None, 56), (7, 7)):
        training = TrainingSpec(batch_size=asked)
        config = hpsearch.detectors.dpa._fit_config(params, training, max_steps=9)
        assert config.batch_size == taken


def test_a_model_that_grew_without_a_cap_on_its_widths_is_read(
    setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    """Models of before the cap have `latent_dim` channels at every resolution."""
    params = SMALL | {"latent_dim": 80, "start_resolution": 8}
    made = setup(QUICK, **params)
    older = PerceptualAutoencoder(made)
    assert older.network.width(16) == 64
    whole = replace(older.network, uncapped=True)
    assert whole.width(16) == 80
    older.autoencoder = Autoencoder(whole).eval()
    older.save(tmp_path)
    read = PerceptualAutoencoder.load(tmp_path, made)
    images = view(slice(32, 50))
    assert np.array_equal(read.score(images), older.score(images))


def _fitted(
    setup: Setup, view: View, *, early_stop: bool = True
) -> tuple[PerceptualAutoencoder, Any]:
    detector = PerceptualAutoencoder(setup)
    held_out = view(slice(24, 32)) if early_stop else None
    return detector, detector.fit(view(slice(0, 24)), held_out, max_steps=30)


def test_scores_rise_with_abnormality(setup: Callable[..., Setup], view: View) -> None:
    detector, training = _fitted(setup(QUICK, **SMALL), view)
    scores = detector.score(view(slice(32, 50)))
    assert scores.dtype == np.float64
    assert scores[8:].mean() > scores[:8].mean()
    assert tuple(training.curve.columns) == CURVE_COLUMNS
    steps = list(training.curve["step"])
    assert steps == sorted(steps)
    assert steps[-1] == 30
    assert training.best_step in steps
    at_best = training.curve[training.curve["step"] == training.best_step].iloc[0]
    assert training.best_loss == at_best["held_out_loss"]


def test_the_seed_decides_the_scores(setup: Callable[..., Setup], view: View) -> None:
    once, again, other = (
        _fitted(setup(QUICK, seed=seed, **SMALL), view)[0].score(view(slice(32, 50)))
        for seed in (0, 0, 1)
    )
    assert np.array_equal(once, again)
    assert not np.allclose(once, other)


def test_without_held_out_normals_every_step_is_taken(
    setup: Callable[..., Setup], view: View
) -> None:
    _, training = _fitted(setup(QUICK, **SMALL), view, early_stop=False)
    assert training.best_step == 30
    assert training.best_loss is None


def test_several_layers_and_a_rate_of_ones_own(setup: Callable[..., Setup], view: View) -> None:
    params = SMALL | {"layers": "r12+r22"}
    detector, _ = _fitted(setup(QUICK | {"learning_rate": 1e-9}, **params), view)
    assert detector.loss.extractor.layers == ("r12", "r22")
    untrained, _ = _fitted(setup(QUICK | {"learning_rate": 1e-12}, **params), view)
    images = view(slice(32, 50))
    np.testing.assert_allclose(detector.score(images), untrained.score(images), rtol=1e-4)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError(7), "non_finite"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
    ],
)
def test_a_failed_training_keeps_its_reason(
    error: Exception,
    reason: str,
    setup: Callable[..., Setup],
    view: View,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(hpsearch.detectors.dpa, "fit", fails)
    with pytest.raises(TaskError) as caught:
        _fitted(setup(QUICK, **SMALL), view)
    assert caught.value.reason == reason
    assert caught.value.message


@pytest.mark.parametrize(
    "junk",
    ["not JSON", '[{"file": "a", "sha256": "b", "state": {}}]', None, "keys"],
)
def test_a_damaged_checkpoint_costs_the_steps_that_it_held(
    junk: str | None, setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    def fitted(folder: Path) -> Any:
        detector = PerceptualAutoencoder(setup(QUICK | {"max_steps": 4}, **SMALL))
        sets = view(slice(0, 30)), view(slice(30, 36))
        return detector.fit(*sets, max_steps=4, checkpoints=folder)

    folder = tmp_path / "checkpoints"
    index = folder / "checkpoint.json"
    folder.mkdir()
    if junk is None:
        index.mkdir()  # where a file should be
    elif junk == "keys":
        tensors = save({"a": torch.zeros(1)})
        (folder / "a.safetensors").write_bytes(tensors)
        config = json.loads(json.dumps(_configuration(setup(QUICK | {"max_steps": 4}, **SMALL))))
        entry = {"file": "a.safetensors", "sha256": hashlib.sha256(tensors).hexdigest()}
        index.write_text(json.dumps([entry | {"state": {"configuration": config}}]))
    else:
        index.write_text(junk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of each file that is missing
        training = fitted(folder)
    (note,) = training.notes
    assert "the training began again" in note
    undisturbed = fitted(tmp_path / "another")
    assert undisturbed.notes == ()
    losses = ["step", "train_loss", "held_out_loss"]
    pd.testing.assert_frame_equal(training.curve[losses], undisturbed.curve[losses])


def _configuration(setup: Setup) -> Any:
    detector = PerceptualAutoencoder(setup)
    training = hpsearch.detectors.dpa._fit_config(setup.params, setup.training, max_steps=4)
    training = replace(training, seed=setup.seed)
    return configuration(detector.network, training, detector.loss.config)


def test_a_rate_that_blows_up_is_non_finite(setup: Callable[..., Setup], view: View) -> None:
    with pytest.raises(TaskError) as caught:
        _fitted(setup(QUICK | {"learning_rate": 1e30}, **SMALL), view)
    assert caught.value.reason == "non_finite"


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"resolution": 48}, "image_size must be 16, 32, 64, 128 or 256 px, got 48"),
        ({"latent_res": 3}, "latent_res must be 1 or a power of two"),
        ({"latent_res": 32}, "latent_res must be 1 or a power of two below image_size"),
        ({"pool": "median"}, "pool must be one of max, top1, top5, mean, got 'median'"),
        ({"latent_dim": 0}, "latent_dim must be at least 1, got 0"),
        ({"layers": "r99"}, "r99"),
        ({"layers": "r12+"}, "write a sum of different names"),
        ({"layers": ""}, "write a sum of different names"),
        ({"layers": "16:r12 32:r99", "start_resolution": 16}, "r99"),
        ({"layers": "16:r12", "start_resolution": 8}, "layers begin at 16 px"),
        ({"loss": "l2"}, "'l2': no l2 here; choose among perceptual, l1, adversarial"),
        ({"loss": "adversarial"}, "perceptual or l1 must be above 0"),
        ({"statistics": "imagenet"}, "statistics must be natural or own, got 'imagenet'"),
        ({"start_resolution": 12}, "start_resolution must be a power of two from 8"),
        ({"start_resolution": 8}, "max_steps must be above 80000, the steps that growing from 8"),
        ({"start_resolution": 8, "steps_per_phase": 0}, "steps_per_phase must be positive"),
    ],
)
@pytest.mark.parametrize("architecture", [VGG19, VGG_MINI], ids=["vgg19", "vgg-mini"])
def test_what_cannot_be_built_is_one_line(
    params: dict[str, Any], says: str, architecture: Any
) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        PerceptualAutoencoder.check(
            {"resolution": 32} | SMALL | params, architecture, SIXTY_THOUSAND
        )
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("space: ")


def test_a_layer_of_another_network_is_refused() -> None:
    params = {"resolution": 32} | SMALL | {"layers": "r54"}
    with pytest.raises(SpecError, match="r54"):
        PerceptualAutoencoder.check(params, VGG_MINI, TrainingSpec())
    PerceptualAutoencoder.check(params, VGG19, TrainingSpec())


def test_the_usual_layers_are_the_papers_or_lie_at_their_strides() -> None:
    layers = {
        name: PerceptualAutoencoder.layer_axes(architecture_of(name))["layers"]
        for name in ("vgg19", "vgg-mini", "lite0", "torchvision:resnet18")
    }
    assert layers["vgg19"] == layers["vgg-mini"] == ("r32", "r42")
    assert layers["lite0"] == ("s2", "s3")
    assert layers["torchvision:resnet18"] == ("s2", "s3")


def test_images_must_be_large_enough_for_their_layer() -> None:
    params = SMALL | {"resolution": 16, "latent_res": 1, "start_resolution": 8, "layers": "r52"}
    with pytest.raises(SpecError, match="layer r52 needs images of 16 px or more, got 8 px"):
        PerceptualAutoencoder.check(params, VGG19, TrainingSpec())


def test_every_published_schedule_can_be_trained() -> None:
    """The growing configurations of the authors, from 8 or 16 to 64 px."""
    for layers, start, dim, res in (
        ("16:r32 64:r42", 16, 4, 8),
        ("8:r12 16:r22 32:r32", 8, 64, 1),
        ("8:r12 16:r22 32:r32 64:r42", 8, 16, 1),
    ):
        params = {"latent_dim": dim, "latent_res": res, "layers": layers, "resolution": 64}
        grows = {"start_resolution": start, "steps_per_phase": 20_000}
        training = TrainingSpec(max_steps=200_000)
        PerceptualAutoencoder.check(PLAIN | params | grows, VGG19, training)


@pytest.mark.parametrize("loss", ["perceptual", "l1", "perceptual+0.1*l1"])
def test_grows_with_every_reconstruction_loss(
    setup: Callable[..., Setup], view: View, loss: str
) -> None:
    grows = {"layers": "8:r12 16:r22", "start_resolution": 8, "steps_per_phase": 6}
    quick = QUICK | {"max_steps": 100, "check_every": 100, "learning_rate": 3e-3}
    detector = PerceptualAutoencoder(setup(quick, **(SMALL | grows | {"loss": loss})))
    training = detector.fit(view(slice(0, 24)), view(slice(24, 32)), max_steps=100)
    assert training.best_step > 12  # full size is reached after two stages of 6 steps
    assert np.diff(training.curve["step"]).max() == 22  # a fourth of the steps at full size
    scores = detector.score(view(slice(32, 50)))
    assert scores[8:].mean() > scores[:8].mean()


def test_a_critic_changes_the_training_and_is_no_part_of_the_score(
    setup: Callable[..., Setup], view: View
) -> None:
    alone, judged = (
        _fitted(setup(QUICK, **(SMALL | {"loss": loss})), view)
        for loss in ("perceptual", "perceptual+0.1*adversarial")
    )
    scores = judged[0].score(view(slice(24, 32)))
    # The held-out loss, by which training stops, is the mean score of the same images.
    assert scores.mean() == pytest.approx(judged[1].best_loss, rel=1e-4)
    assert not np.allclose(scores, alone[0].score(view(slice(24, 32))), rtol=1e-3)


@pytest.mark.parametrize("grows", [False, True])
def test_the_model_on_disk_holds_no_code_and_gives_the_same_scores(
    grows: bool, setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    growing = {"layers": "8:r12 16:r22", "start_resolution": 8, "steps_per_phase": 6}
    params = SMALL | (growing if grows else {})
    detector, _ = _fitted(setup(QUICK, **params), view)
    detector.save(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model.safetensors"]
    none = ImageView(view(slice(0, 0)).array(), np.arange(0), None)
    again = PerceptualAutoencoder.load(tmp_path / "model", replace(setup(**params), normals=none))
    images = view(slice(32, 50))
    assert np.array_equal(again.score(images), detector.score(images))
    assert np.array_equal(again.maps(images), detector.maps(images))


def test_maps_have_the_score_as_their_mean(setup: Callable[..., Setup], view: View) -> None:
    """Of the one layer here, which is as large as the image."""
    detector, _ = _fitted(setup(QUICK, **SMALL), view)
    images = view(slice(32, 50))
    maps = detector.maps(images)
    assert maps.shape == (18, 16, 16)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), detector.score(images), rtol=1e-4)


def test_the_pool_of_before_there_was_a_choice_is_the_mean(
    setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    images = view(slice(32, 50))
    older, mean, top = (
        _fitted(setup(QUICK, **SMALL | pool), view)[0]
        for pool in ({}, {"pool": "mean"}, {"pool": "top5"})
    )
    assert np.array_equal(older.score(images), mean.score(images))
    assert PerceptualAutoencoder.canonical(SMALL | {"pool": "mean"}) == SMALL
    assert PerceptualAutoencoder.canonical(SMALL | {"pool": "max"}) == SMALL | {"pool": "max"}
    highest = np.sort(top.maps(images).reshape(18, -1), axis=1)[:, -13:]  # 5 % of 16 x 16
    np.testing.assert_allclose(top.score(images), highest.mean(axis=1), rtol=1e-4)
    older.save(tmp_path / "model")
    again = PerceptualAutoencoder.load(tmp_path / "model", setup(**SMALL | {"pool": "top5"}))
    assert np.array_equal(again.score(images), top.score(images)), "the pool trains nothing"


def test_statistics_of_images_without_a_key_are_the_same(
    setup: Callable[..., Setup], view: View
) -> None:
    made = setup(QUICK, **(SMALL | {"statistics": "own"}))
    kept, once = (
        PerceptualAutoencoder(replace(made, normals=replace(made.normals, key=key)))
        for key in ("these", None)
    )
    for ours, theirs in zip(kept.statistics["r12"], once.statistics["r12"], strict=True):
        assert torch.equal(ours, theirs)


def test_own_statistics_are_those_of_the_normals_of_the_study(
    setup: Callable[..., Setup], view: View, pixels: np.ndarray
) -> None:
    natural = PerceptualAutoencoder(setup(QUICK, **SMALL))
    made = setup(QUICK, **(SMALL | {"statistics": "own"}))
    own = PerceptualAutoencoder(made)
    stored, expected = (
        made.backbone.statistics,
        compute_statistics(made.backbone, pixels[:40], ["r12"]),
    )
    assert stored is not None
    for number in range(2):
        assert torch.equal(natural.statistics["r12"][number], stored["r12"][number])
        assert torch.equal(own.statistics["r12"][number], expected["r12"][number])
    assert not torch.equal(own.statistics["r12"][0], stored["r12"][0])


def test_natural_statistics_are_never_those_of_the_study_in_silence(
    setup: Callable[..., Setup],
) -> None:
    made = setup(QUICK, **SMALL)
    with pytest.raises(WeightsError, match="--backbone-statistics, or take --axis statistics=own"):
        PerceptualAutoencoder(replace(made, backbone=replace(made.backbone, statistics=None)))


def test_a_model_of_before_the_axis_keeps_its_own_statistics(
    setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    detector, _ = _fitted(setup(QUICK, **(SMALL | {"statistics": "own"})), view)
    detector.save(tmp_path / "model")
    older = {key: value for key, value in SMALL.items() if key != "statistics"}
    made = setup(QUICK, **older)
    PerceptualAutoencoder.check(made.params, VGG_MINI, TrainingSpec())
    again = PerceptualAutoencoder.load(tmp_path / "model", made)
    images = view(slice(32, 50))
    assert np.array_equal(again.score(images), detector.score(images))


def test_precision_of_the_training_is_not_that_of_statistics_and_scores(
    setup: Callable[..., Setup], view: View
) -> None:
    params = SMALL | {"statistics": "own"}
    exact, rounded = (
        _fitted(setup(QUICK | {"precision": precision}, **params), view)
        for precision in ("float32", "bfloat16")
    )
    for ours, theirs in zip(exact[0].statistics["r12"], rounded[0].statistics["r12"], strict=True):
        assert torch.equal(ours, theirs)
    assert list(exact[1].curve["train_loss"]) != list(rounded[1].curve["train_loss"])
    assert rounded[0].loss.precision == "float32"


def test_an_unfitted_detector_says_so(setup: Callable[..., Setup], view: View) -> None:
    with pytest.raises(ValueError, match="not fitted"):
        PerceptualAutoencoder(setup(QUICK, **SMALL)).score(view(slice(0, 2)))
