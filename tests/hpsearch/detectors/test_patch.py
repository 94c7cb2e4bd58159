"""The detector patch: vectors by hand, what is kept and read again, and one-line refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import uniform_filter
from scipy.spatial.distance import cdist
from torch.nn.functional import interpolate

from dpa_core.efficientnet_lite import EfficientNetLite
from dpa_core.vgg import VGG_MINI
from hpsearch.config.spec import TrainingSpec
from hpsearch.detectors.backbones.backbone import build_extractor
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.patch import PatchDetector, PatchVectors
from hpsearch.errors import SpecError, TaskError, WeightsError

View = Callable[[slice], ImageView]
MakeSetup = Callable[..., Setup]

TRAIN, NEW = slice(0, 30), slice(30, 50)  # of the new ones the last ten are anomalous
USUAL: dict[str, Any] = {
    "kind": "nearest",
    "layer": "r12+r22",
    "pool": "max",
    "coreset": 0.1,
    "reweight": False,
}
KINDS: dict[str, dict[str, Any]] = {
    "nearest": {},
    "reweighted": {"reweight": True},
    "position": {"kind": "gaussian_position", "pool": "top5"},
    "gaussian": {"kind": "gaussian", "pool": "mean", "layer": "r22"},
}


def _fitted(setup: Setup, view: View) -> PatchDetector:
    detector = PatchDetector(setup)
    training = detector.fit(view(TRAIN), None, max_steps=1)
    assert (training.best_step, training.best_loss, len(training.curve)) == (0, None, 0)
    return detector


def _vectors(setup: Setup, images: ImageView, layers: list[str]) -> np.ndarray:
    """`(n, 16, 16, C)` by hand: means of 3x3, of fewer at the border, on the grid of r12."""
    pixels = torch.from_numpy(images.array()).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        maps = build_extractor(setup.backbone, layers)(pixels)
    joined = []
    for layer in layers:
        values = maps[layer].numpy().astype(np.float64)
        sums = uniform_filter(values, (1, 1, 3, 3), mode="constant")
        counts = uniform_filter(np.ones_like(values), (1, 1, 3, 3), mode="constant")
        means = torch.from_numpy(sums / counts)
        joined.append(interpolate(means, size=(16, 16), mode="bilinear").numpy())
    return np.concatenate(joined, axis=1).transpose(0, 2, 3, 1)


def test_positions_are_as_far_as_their_nearest_normal_vector(setup: MakeSetup, view: View) -> None:
    made = setup(**USUAL)
    detector = _fitted(made, view)
    train, new = (_vectors(made, view(rows), ["r12", "r22"]) for rows in (TRAIN, NEW))
    memory = detector.fitted.get_buffer("memory").numpy()
    assert len(memory) == 768, "a tenth of 30 * 16 * 16 positions"
    to_train = cdist(memory[::50], train.reshape(-1, train.shape[3])).min(axis=1)
    assert to_train.max() < 1e-4, "the memory is of normal vectors"
    distances = cdist(new.reshape(-1, memory.shape[1]), memory).min(axis=1).reshape(20, -1)
    np.testing.assert_allclose(detector.score(view(NEW)), distances.max(axis=1), rtol=1e-3)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_what_is_saved_gives_the_same_scores_and_maps(
    settings: dict[str, Any], setup: MakeSetup, view: View, tmp_path: Path
) -> None:
    made = setup(**USUAL | settings)
    detector = _fitted(made, view)
    scores = detector.score(view(NEW))
    assert scores[10:].min() > scores[:10].max(), "stripes are more abnormal than noise"
    detector.save(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["model.safetensors"]
    again = PatchDetector.load(tmp_path / "model", made)
    once = replace(view(NEW), key=None)  # nothing of these is kept in a cache
    np.testing.assert_allclose(again.score(once), scores, rtol=1e-5)
    maps = detector.maps(view(NEW))
    assert maps.shape == (20, 16, 16)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(again.maps(once), maps, rtol=1e-3)
    pixels = torch.from_numpy(view(NEW).array())
    np.testing.assert_allclose(detector.graph()(pixels).numpy(), scores, rtol=1e-4)


def test_maps_show_where_an_image_is_unlike_the_normal_ones(
    setup: MakeSetup, view: View, pixels: np.ndarray
) -> None:
    marked = pixels[35:36].copy()
    marked[0, 10:14, 2:6] = 255
    image = ImageView(marked, np.arange(1), None)
    for settings in KINDS.values():
        (found,) = _fitted(setup(**USUAL | settings), view).maps(image)
        row, column = np.unravel_index(found.argmax(), found.shape)
        assert 8 <= row <= 15
        assert 0 <= column <= 7


def test_only_the_centre_of_a_larger_image_is_seen(setup: MakeSetup, pixels: np.ndarray) -> None:
    larger = np.pad(pixels, ((0, 0), (2, 2), (2, 2), (0, 0)))
    scores = []
    for array, key in ((pixels, "these"), (larger, "larger")):
        detector = PatchDetector(setup(**USUAL))
        detector.fit(ImageView(array, np.arange(30), key), None, max_steps=1)
        scores.append(detector.score(ImageView(array, np.arange(30, 50), key)))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_channels_are_drawn_for_a_gaussian_of_each_position(setup: MakeSetup, view: View) -> None:
    made = setup(**USUAL | {"kind": "gaussian_position", "layer": "r22+r32+r42"})
    detector = _fitted(made, view)
    assert detector.fitted
    channels = detector.vectors.channels
    assert channels is not None
    assert len(set(channels.tolist())) == 100
    assert channels.min() >= 0
    assert channels.max() < 32 + 64 + 128
    maps = {layer: torch.rand(2, n, 4, 4) for layer, n in (("r22", 32), ("r32", 64), ("r42", 128))}
    every = PatchVectors(detector.layers)(maps)
    assert torch.equal(detector.vectors(maps), every[..., channels])


def test_what_a_kind_does_not_read_makes_no_other_configuration() -> None:
    differ = USUAL | {"coreset": 0.25, "reweight": True}
    assert PatchDetector.canonical(differ) == differ
    assert PatchDetector.canonical(differ | {"pool": "mean"})["reweight"] is False
    gaussian = differ | {"kind": "gaussian"}
    assert PatchDetector.canonical(gaussian) == USUAL | {"kind": "gaussian"}


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        (VGG_MINI, ("r22", "r22+r32", "r32+r42")),
        (EfficientNetLite("lite0"), ("s3+s4", "s4")),
    ],
)
def test_the_layers_searched_are_those_of_the_network(
    architecture: Any, layers: tuple[str, ...]
) -> None:
    found = PatchDetector.layer_axes(architecture)
    assert found == {"layer": layers}
    for layer in layers:
        params = USUAL | {"layer": layer, "resolution": 64}
        PatchDetector.check(params, architecture, TrainingSpec())


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"kind": "knn"}, "kind must be one of nearest, gaussian_position, gaussian, got 'knn'"),
        ({"pool": "median"}, "pool must be one of max, top1, top5, mean, got 'median'"),
        ({"coreset": 0.5}, r"coreset must be from 0\.001 to 0\.25, got 0\.5"),
        ({"layer": "r12+r99"}, "'r99': vgg-mini has r11"),
        ({"layer": "r12+"}, "'': vgg-mini has r11"),
        ({"layer": "r42", "resolution": 4}, "r42 needs images of 8 px or more, got 4 px"),
    ],
)
def test_what_cannot_be_built_is_one_line(params: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        PatchDetector.check(USUAL | {"resolution": 16} | params, VGG_MINI, TrainingSpec())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t | {"channels": t["channels"] + 99}, "channels that the layers do not have"),
        (lambda t: t | {"channels": t["channels"][:-1].clone()}, r"must have shape \(48\)"),
        (lambda t: t | {"location": t["location"][:-1].clone()}, r"must have shape \(256, 48\)"),
        (lambda t: t | {"whitening": t["whitening"] * torch.nan}, "values that are not finite"),
        (lambda t: t | {"more": torch.ones(1)}, "holds 'more', which has no use"),
    ],
)
def test_tensors_that_cannot_be_are_one_line(
    change: Callable[[dict[str, Any]], dict[str, Any]],
    says: str,
    setup: MakeSetup,
    view: View,
    tmp_path: Path,
) -> None:
    made = setup(**USUAL | {"kind": "gaussian_position"})
    _fitted(made, view).save(tmp_path / "model")
    file = tmp_path / "model/model.safetensors"
    save_file(change(load_file(file)), file)
    with pytest.raises(WeightsError, match=says) as caught:
        PatchDetector.load(tmp_path / "model", made)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("layer", ["r22", "r22+r42"])
def test_a_memory_of_other_layers_is_refused(
    layer: str, setup: MakeSetup, view: View, tmp_path: Path
) -> None:
    _fitted(setup(**USUAL), view).save(tmp_path / "model")
    with pytest.raises(WeightsError, match=r"'memory' must have shape \(any, "):
        PatchDetector.load(tmp_path / "model", setup(**USUAL | {"layer": layer}))


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_normals_that_are_all_alike(
    settings: dict[str, Any], setup: MakeSetup, pixels: np.ndarray
) -> None:
    """One image, many copies of one, or a single colour: others must still be told from them."""
    flat = np.full_like(pixels[:1], 120)
    for normals in (pixels[:1], np.repeat(pixels[:1], 9, axis=0), flat, flat.repeat(9, axis=0)):
        detector = PatchDetector(setup(**USUAL | settings))
        detector.fit(ImageView(normals, np.arange(len(normals)), None), None, max_steps=1)
        same, other = (
            detector.score(ImageView(images, np.arange(len(images)), None))
            for images in (normals, pixels[40:])
        )
        assert np.isfinite(same).all()
        assert other.min() > same.max()


@pytest.mark.parametrize("kind", ["nearest", "gaussian_position", "gaussian"])
def test_pools_read_the_distances_of_one_model(
    kind: str, setup: MakeSetup, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[str] = []
    model_of = PatchDetector._model_of

    def counted(detector: PatchDetector, train: ImageView) -> Any:
        fits.append(detector.pool)
        return model_of(detector, train)

    monkeypatch.setattr(PatchDetector, "_model_of", counted)
    train, new = replace(view(TRAIN), key="stored"), replace(view(NEW), key="stored")
    for pool in ("max", "top1", "top5", "mean"):
        made = setup(**USUAL | {"kind": kind, "pool": pool})
        detector, streamed = PatchDetector(made), PatchDetector(made)
        detector.fit(train, None, max_steps=1)
        streamed.fit(view(TRAIN), None, max_steps=1)
        scores = detector.score(new)
        assert fits.count(pool) == (pool == "max")
        streamed_images = replace(new, key=None)
        np.testing.assert_allclose(scores, streamed.score(streamed_images), rtol=1e-5)
    others = replace(new, positions=new.positions[::-1])
    np.testing.assert_allclose(detector.score(others), scores[::-1], rtol=1e-5)
    fewer = replace(train, positions=train.positions[:20])
    detector.fit(fewer, None, max_steps=1)
    assert not np.allclose(detector.score(new), scores)


def test_what_would_be_too_much_is_not_kept(
    setup: MakeSetup, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = setup(**USUAL)
    expected = _fitted(made, view).score(replace(view(NEW), key=None))
    monkeypatch.setattr("hpsearch.detectors.patch.MOST_BYTES_OF_DISTANCES", 99)
    detector = PatchDetector(made)
    detector.fit(replace(view(TRAIN), key="stored"), None, max_steps=1)
    scores = detector.score(replace(view(NEW), key="stored"))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    assert not list((made.cache_dir / "distances").glob("*.npy"))


def test_features_that_are_not_finite_fail_the_training(setup: MakeSetup, view: View) -> None:
    made = setup(**USUAL)
    huge = {key: value * 1e30 for key, value in made.backbone.weights.items()}
    broken = replace(made, backbone=replace(made.backbone, weights=huge, digest="0" * 64))
    detector = PatchDetector(broken)
    detector.fit(view(TRAIN), None, max_steps=1)
    with pytest.raises(TaskError, match=r"features of r12\+r22 are not finite"):
        detector.score(view(TRAIN))
