"""Feature maps are computed once, whoever asks, and are the same from the cache and without it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hpsearch.detectors import feature_maps
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.base import ImageView, Setup
from hpsearch.detectors.feature_maps import FeatureMaps
from hpsearch.detectors.patch import PatchDetector

View = Callable[[slice], ImageView]
USUAL = ("r22", "r32", "r42")


@pytest.fixture
def maps_of(vgg_mini: Backbone, tmp_path: Path) -> Callable[..., FeatureMaps]:
    def make(*layers: str) -> FeatureMaps:
        return FeatureMaps(
            vgg_mini, layers, USUAL, resolution=16, device="cpu", cache_dir=tmp_path / "cache"
        )

    return make


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass of a network took, but for single ones that tell the shapes."""
    sizes: list[int] = []
    computed = FeatureMaps._computed

    def counted(self: FeatureMaps, extractor: object, pixels: np.ndarray) -> object:
        if len(pixels) > 1:
            sizes.append(len(pixels))
        return computed(self, extractor, pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(FeatureMaps, "_computed", counted)
    return sizes


def _all(maps: FeatureMaps, images: ImageView) -> dict[str, np.ndarray]:
    batches = list(maps.batches(images))
    return {
        layer: np.concatenate([batch[layer].numpy() for batch in batches]) for layer in maps.layers
    }


@pytest.mark.parametrize("layers", [("r22",), ("r42", "r22"), ("r12", "r32")])
def test_they_are_those_of_the_network(
    layers: tuple[str, ...], maps_of: Callable[..., FeatureMaps], pixels: np.ndarray
) -> None:
    rows = np.array([7, 2, 41])
    images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = build_extractor(maps_of("r22").backbone, layers)(images)
    for key in ("these", None):
        found = _all(maps_of(*layers), ImageView(pixels, rows, key))
        assert found.keys() == set(layers)
        for layer in layers:
            np.testing.assert_allclose(found[layer], expected[layer].numpy(), rtol=1e-4, atol=1e-5)


def test_every_kind_layer_and_fold_reads_one_pass(
    setup: Callable[..., Setup], view: View, passes: list[int]
) -> None:
    for kind, layer, rows in (
        ("nearest", "r22", slice(0, 20)),
        ("gaussian", "r22+r32", slice(10, 30)),
        ("gaussian_position", "r42", slice(5, 40)),
    ):
        params = {"kind": kind, "layer": layer, "pool": "max", "coreset": 0.1, "reweight": False}
        detector = PatchDetector(setup(**params))
        detector.fit(view(rows), None, max_steps=1)
        detector.score(view(slice(0, 50)))
    assert passes == [50]


def test_who_asks_at_the_same_time_waits(
    maps_of: Callable[..., FeatureMaps], view: View, passes: list[int]
) -> None:
    threads = [
        threading.Thread(target=_all, args=(maps_of(layer), view(slice(0, 50)))) for layer in USUAL
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passes == [50]


@pytest.mark.parametrize("limit", ["MOST_BYTES", "_SPARE_BYTES"])
def test_what_does_not_fit_is_computed_each_time(
    limit: str,
    maps_of: Callable[..., FeatureMaps],
    view: View,
    passes: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stored = _all(maps_of("r32"), view(slice(3, 9)))
    (path,) = (tmp_path / "cache/maps").glob("*.npy")
    path.unlink()
    monkeypatch.setattr(feature_maps, limit, 9 if limit == "MOST_BYTES" else 2**60)
    for _ in range(2):
        np.testing.assert_allclose(_all(maps_of("r32"), view(slice(3, 9)))["r32"], stored["r32"])
    assert passes == [50, 6, 6]
    assert not list((tmp_path / "cache/maps").glob("*.npy"))


def test_other_pixels_and_networks_have_files_of_their_own(
    maps_of: Callable[..., FeatureMaps], pixels: np.ndarray
) -> None:
    maps = maps_of("r22")
    view = ImageView(pixels, np.arange(4), "one")
    first = _all(maps, view)["r22"]
    negative = _all(maps, ImageView(255 - pixels, np.arange(4), "other"))["r22"]
    assert not np.allclose(first, negative)
    other = maps_of("r22")
    other.backbone = replace(
        maps.backbone,
        weights={key: 2 * value for key, value in maps.backbone.weights.items()},
        digest="0" * 64,
    )
    assert not np.allclose(first, _all(other, view)["r22"])
    assert np.array_equal(first, _all(maps_of("r22"), view)["r22"])


def test_a_damaged_file_is_made_anew_with_a_note(
    maps_of: Callable[..., FeatureMaps],
    view: View,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = _all(maps_of("r22"), view(slice(0, 5)))["r22"]
    (path,) = (tmp_path / "cache/maps").glob("*.npy")
    whole = path.read_bytes()
    for content in (b"", whole[:-200], b"no array " * 99):
        path.write_bytes(content)
        caplog.clear()
        for _ in range(2):
            assert np.array_equal(_all(maps_of("r22"), view(slice(0, 5)))["r22"], expected)
        assert caplog.text.count("made anew") == 1


def test_no_images(maps_of: Callable[..., FeatureMaps], view: View) -> None:
    for images in (view(slice(0, 0)), replace(view(slice(0, 0)), key=None)):
        assert list(maps_of("r22").batches(images)) == []
