"""Models of anomalib on drawn images; skipped where it is not installed, for it is large."""

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dpa_core.efficientnet_lite import EfficientNetLite
from dpa_core.vgg import VGG_MINI
from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors import anomalib_models
from hpsearch.detectors.base import ImageView, Setup, axes_of, checked_scores, load_detector
from hpsearch.errors import SpecError, TaskError, WeightsError

needs_anomalib = pytest.mark.skipif(
    importlib.util.find_spec("anomalib") is None,
    reason="needs anomalib: pip install 'hpsearch[anomalib]'",
)
TRAIN, NEW = slice(0, 30), slice(30, 50)  # of the new ones the last ten are anomalous
View = Callable[[slice], ImageView]


@pytest.fixture
def view() -> View:
    """40 noisy images of 32 px, and 10 with stripes."""
    rng = np.random.default_rng(0)
    images = rng.normal(120, 15, (50, 32, 32, 3))
    images[40:, ::4] += 60
    pixels = images.clip(0, 255).astype(np.uint8)
    return lambda rows: ImageView(pixels, np.arange(50)[rows], None)


@pytest.fixture
def made(setup: Callable[..., Setup], view: View) -> Callable[..., Setup]:
    def make(seed: int = 0, **params: Any) -> Setup:
        one = setup(
            {"batch_size": 16}, seed=seed, **{"resolution": 32, "random_crop": 1.0, **params}
        )
        return replace(one, normals=view(slice(0, 40)))

    return make


@needs_anomalib
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("anomalib:Padim", {"layer": "r22+r32", "n_features": 20}),
        ("anomalib:Patchcore", {"layer": "r32", "coreset_sampling_ratio": 0.02}),
        ("anomalib:Dfm", {"layer": "r32"}),
    ],
)
def test_scores_rise_with_abnormality_and_nothing_is_left_or_said(
    name: str,
    params: dict[str, Any],
    made: Callable[..., Setup],
    view: View,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path / "here")
    setup = made(**params)
    detector = load_detector(name)(setup)
    training = detector.fit(view(TRAIN), None, max_steps=2)
    scores = checked_scores(detector.score(view(NEW)), 20)
    assert training.best_step == 0, "it goes through all images, whatever the number of steps"
    assert scores[10:].min() > scores[:10].max()
    assert detector.maps(view(NEW)).shape == (20, 32, 32)
    assert detector.maps(view(NEW)).dtype == np.float32
    detector.save(tmp_path / "model")
    assert not any(
        "extractor.features" in key for key in load_file(tmp_path / "model/model.safetensors")
    )
    again = load_detector(name).load(tmp_path / "model", setup)
    np.testing.assert_allclose(again.score(view(NEW)), scores, rtol=1e-5)
    of_torch = set((tmp_path / "scratch").glob("torchinductor_*"))  # by its first import, for good
    assert not set((tmp_path / "scratch").iterdir()) - of_torch
    assert not list((tmp_path / "here").iterdir())
    assert capfd.readouterr() == ("", "")


@needs_anomalib
def test_padim_is_the_gaussian_of_each_position_on_our_network(
    made: Callable[..., Setup], view: View
) -> None:
    """Mahalanobis distances by hand, of all channels, before the blur of the map."""
    setup = made(layer="r32", n_features=64)
    detector: Any = load_detector("anomalib:Padim")(setup)
    detector.fit(view(TRAIN), None, max_steps=1)
    extractor = anomalib_models.build_extractor(setup.backbone, ("r32",))

    def features(rows: slice) -> torch.Tensor:
        images = torch.from_numpy(view(rows).array()).permute(0, 3, 1, 2).float()
        return extractor(images / 127.5 - 1)["r32"].flatten(2).double()

    train, new = features(TRAIN), features(NEW)
    centred = train - train.mean(dim=0)
    covariance = torch.einsum("ncp,ndp->pcd", centred, centred) / (len(train) - 1)
    inverse = torch.linalg.inv(covariance + 0.01 * torch.eye(64))
    away = new - train.mean(dim=0)
    expected = torch.einsum("ncp,pcd,ndp->np", away, inverse, away).clamp(min=0).sqrt()
    # The map is blurred over 16 px and more, so it is nearly the mean over the 64 positions.
    correlation = np.corrcoef(expected.mean(dim=1), detector.maps(view(NEW)).mean(axis=(1, 2)))
    assert correlation[0, 1] > 0.99


@needs_anomalib
def test_the_seed_decides(made: Callable[..., Setup], view: View) -> None:
    def scores(seed: int) -> np.ndarray:
        detector = load_detector("anomalib:Padim")(made(seed=seed, layer="r22", n_features=5))
        detector.fit(view(TRAIN), None, max_steps=1)
        return detector.score(view(NEW))

    assert np.array_equal(scores(1), scores(1))
    assert not np.array_equal(scores(1), scores(2))


@needs_anomalib
def test_axes_are_the_constructors_parameters_by_name_and_type() -> None:
    assert axes_of("anomalib:Padim", VGG_MINI) == {"layer": ("r22+r32",), "n_features": (0,)}
    assert axes_of("anomalib:Dfkde", VGG_MINI) == {
        "layer": ("r22",),
        "n_pca_components": (16,),
        "feature_scaling_method": ("scale",),
        "max_training_points": (40_000,),
    }
    stfpm = axes_of("anomalib:Stfpm", VGG_MINI)
    assert stfpm == {"backbone": ("resnet18",), "layers": ("layer1+layer2+layer3",)}


@needs_anomalib
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("anomalib:Padimm", "'anomalib:Padimm': anomalib has none of that name; choose .*:Padim"),
        ("anomalib:WinClip", "it is not fitted on normal images"),
        ("anomalib:EfficientAd", "second data set that it downloads"),
    ],
)
def test_what_cannot_be_searched_is_one_line(name: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        load_detector(name)
    assert str(caught.value).isprintable()


@needs_anomalib
@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"layer": "r99"}, "r99"),
        ({"layer": "r22+r32"}, "takes one layer"),
        ({"layer": "r42", "resolution": 7}, "needs images of 8 px or more"),
        ({"layer": "r22", "random_crop": 0.5}, "takes no random_crop"),
    ],
)
def test_what_cannot_be_built_is_one_line(params: dict[str, Any], says: str) -> None:
    given = {"resolution": 32, "random_crop": 1.0, **params}
    with pytest.raises(SpecError, match=says):
        load_detector("anomalib:Dfm").check(given, VGG_MINI, TrainingSpec())


@needs_anomalib
def test_a_model_that_its_tensors_do_not_make_again_fails_at_once(
    made: Callable[..., Setup], view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector: Any = load_detector("anomalib:Dfm")(made(layer="r22"))
    fitted = type(detector)._fitted
    monkeypatch.setattr(  # as if the others were kept elsewhere
        type(detector),
        "_fitted",
        lambda self: {key: value * 0 for key, value in fitted(self).items()},
    )
    with pytest.raises(TaskError, match="is not in its state_dict"):
        detector.fit(view(TRAIN), None, max_steps=1)


@needs_anomalib
def test_a_file_of_another_model_is_one_line(
    made: Callable[..., Setup], view: View, tmp_path: Path
) -> None:
    kind, setup = load_detector("anomalib:Dfm"), made(layer="r22")
    detector = kind(setup)
    detector.fit(view(TRAIN), None, max_steps=1)
    detector.save(tmp_path / "model")
    file = tmp_path / "model/model.safetensors"
    save_file(dict(list(load_file(file).items())[1:]), file)
    with pytest.raises(WeightsError, match="other tensors than those of the model"):
        kind.load(tmp_path / "model", setup)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anomalib.models", None)
    monkeypatch.setitem(sys.modules, "anomalib", None)
    with pytest.raises(SpecError, match=r"need anomalib; pip install 'hpsearch\[anomalib\]'"):
        anomalib_models.detector_of.__wrapped__("Cfa")


@needs_anomalib
@pytest.mark.parametrize("architecture", [VGG_MINI, EfficientNetLite("lite0")])
def test_the_layers_of_every_network_are_as_many_as_a_model_takes(architecture: Any) -> None:
    (several,) = axes_of("anomalib:Padim", architecture)["layer"]
    (one,) = axes_of("anomalib:Dfm", architecture)["layer"]
    assert ("+" in str(several), "+" in str(one)) == (True, False)
