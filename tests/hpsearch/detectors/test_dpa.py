from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hpsearch.detectors.dpa
from dpa_core.config import AutoencoderConfig
from dpa_core.errors import CheckpointError, DivergedError
from dpa_core.features import VGG19, VGG_MINI
from hpsearch.detectors.base import CURVE_COLUMNS, ImageView, Setup
from hpsearch.detectors.dpa import DPADetector, learning_rate
from hpsearch.errors import SpecError, TaskError

View = Callable[[slice], ImageView]
SMALL = {"latent_dim": 2, "latent_res": 4, "layers": "r12"}
QUICK = {"max_steps": 30, "batch_size": 8, "check_every": 10}


@pytest.mark.parametrize(
    ("image", "dim", "res", "rate"),
    [
        (32, 8, 1, 1e-2),
        (32, 16, 1, 5e-3),
        (32, 32, 1, 2e-3),
        (32, 64, 1, 1e-3),
        (32, 256, 1, 2e-4),
        (64, 4, 8, 1e-3),
        (64, 64, 16, 1e-4),
    ],
)
def test_published_learning_rates(image: int, dim: int, res: int, rate: float) -> None:
    """Those of the authors' published configurations."""
    network = AutoencoderConfig(image_size=image, channels=3, latent_dim=dim, latent_res=res)
    assert learning_rate(network) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("res", [1, 8])
def test_the_rate_falls_as_the_bottleneck_widens(res: int) -> None:
    rates = [
        learning_rate(AutoencoderConfig(image_size=32, channels=3, latent_dim=dim, latent_res=res))
        for dim in range(1, 300, 7)
    ]
    assert rates == sorted(rates, reverse=True)
    assert 0.99e-4 <= min(rates) <= max(rates) <= 1.01e-2


def _fitted(setup: Setup, view: View, *, early_stop: bool = True) -> tuple[DPADetector, Any]:
    detector = DPADetector(setup)
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
    assert detector.extractor.layers == ("r12", "r22")
    untrained, _ = _fitted(setup(QUICK | {"learning_rate": 1e-12}, **params), view)
    images = view(slice(32, 50))
    np.testing.assert_allclose(detector.score(images), untrained.score(images), rtol=1e-4)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError(7), "non_finite"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (CheckpointError("of another training"), "bad_data"),
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
        ({"latent_dim": 0}, "latent_dim must be at least 1, got 0"),
        ({"layers": "r99"}, "r99"),
        ({"layers": "r12+"}, "layer"),
        ({"layers": ""}, "layer"),
    ],
)
@pytest.mark.parametrize("architecture", [VGG19, VGG_MINI], ids=["vgg19", "vgg-mini"])
def test_what_cannot_be_built_is_one_line(
    params: dict[str, Any], says: str, architecture: Any
) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        DPADetector.check({"resolution": 32} | SMALL | params, architecture)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("space: ")


def test_a_layer_of_another_network_is_refused() -> None:
    with pytest.raises(SpecError, match="r54"):
        DPADetector.check({"resolution": 32} | SMALL | {"layers": "r54"}, VGG_MINI)
    DPADetector.check({"resolution": 32} | SMALL | {"layers": "r54"}, VGG19)


def test_the_model_on_disk_holds_no_code(
    setup: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    detector, _ = _fitted(setup(QUICK, **SMALL), view)
    detector.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".safetensors", ".json"}


def test_an_unfitted_detector_says_so(setup: Callable[..., Setup], view: View) -> None:
    with pytest.raises(ValueError, match="not fitted"):
        DPADetector(setup(QUICK, **SMALL)).score(view(slice(0, 2)))
