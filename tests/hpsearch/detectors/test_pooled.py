from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dpa_core.features import LayerStatistics
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.backbones.statistics import compute_statistics
from hpsearch.detectors.backbones.weight_files import weights_digest
from hpsearch.detectors.base import ImageView
from hpsearch.detectors.pooled_features import colour_statistics, pooled_features


def test_colour_is_mean_and_deviation_of_each_channel(pixels: np.ndarray) -> None:
    vectors = colour_statistics(pixels)
    assert vectors.shape == (len(pixels), 6)
    for image, vector in zip(pixels, vectors, strict=True):
        flat = image.reshape(-1, 3) / 255
        assert vector == pytest.approx([*flat.mean(axis=0), *flat.std(axis=0)], abs=1e-12)


def test_colour_percentiles_are_those_of_numpy(pixels: np.ndarray) -> None:
    vectors = colour_statistics(pixels, "colour_percentiles")
    assert vectors.shape == (len(pixels), 21)
    np.testing.assert_array_equal(vectors[:, :6], colour_statistics(pixels))
    shares = np.percentile(
        pixels.reshape(len(pixels), -1, 3) / 255, (5, 25, 50, 75, 95), axis=1, method="nearest"
    )
    np.testing.assert_array_equal(vectors[:, 6:], shares.transpose(1, 0, 2).reshape(-1, 15))


def test_the_deviation_of_a_channel_is_over_its_positions(
    pixels: np.ndarray, vgg_mini: Backbone, tmp_path: Path
) -> None:
    images = torch.from_numpy(pixels[[7, 2, 41]]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        maps = build_extractor(vgg_mini, ["r22"])(images)["r22"].numpy()
    expected = np.concatenate([maps.mean(axis=(2, 3)), maps.std(axis=(2, 3))], axis=1)
    for key in ("these", None):
        view = ImageView(pixels, np.array([7, 2, 41]), key)
        vectors = pooled_features(
            view, "r22", vgg_mini, pooling="mean_std", device="cpu", cache_dir=tmp_path
        )
        np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_colour_of_grey_images(pixels: np.ndarray) -> None:
    assert colour_statistics(pixels[..., :1]).shape == (len(pixels), 2)


@pytest.mark.parametrize("layer", ["r12", "r42", "r22"])
def test_a_layer_is_averaged_over_its_positions(
    layer: str, pixels: np.ndarray, vgg_mini: Backbone, tmp_path: Path
) -> None:
    view = ImageView(pixels, np.array([7, 2, 41]), "these")
    vectors = pooled_features(view, layer, vgg_mini, device="cpu", cache_dir=tmp_path)
    images = torch.from_numpy(pixels[[7, 2, 41]]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = build_extractor(vgg_mini, [layer])(images)[layer].mean(dim=(2, 3))
    np.testing.assert_allclose(vectors, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_all_usual_layers_come_out_of_one_pass(
    vgg_mini: Backbone,
    view: Callable[[slice], ImageView],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pooled_features(view(slice(0, 3)), "r12", vgg_mini, device="cpu", cache_dir=tmp_path)
    monkeypatch.setattr(
        "hpsearch.detectors.pooled_features.build_extractor",
        lambda *_: pytest.fail("a second pass"),
    )
    for layer in ("r22", "r32", "r42", "r12"):
        pooled_features(view(slice(0, 5)), layer, vgg_mini, device="cpu", cache_dir=tmp_path)


def test_an_autocast_of_the_caller_changes_no_bit(
    pixels: np.ndarray, vgg_mini: Backbone, tmp_path: Path
) -> None:
    """As on CUDA, where training may be in bfloat16: vectors and statistics stay in float32."""
    view = ImageView(pixels, np.arange(20), "these")

    def found(folder: Path) -> tuple[np.ndarray, LayerStatistics]:
        vectors = pooled_features(view, "r32", vgg_mini, device="cpu", cache_dir=folder)
        return vectors, compute_statistics(vgg_mini, pixels[:20], ["r32"])

    vectors, mean_std = found(tmp_path / "plain")
    with torch.autocast("cpu", torch.bfloat16):
        inside, inside_mean_std = found(tmp_path / "autocast")
    assert np.array_equal(inside, vectors)
    for ours, theirs in zip(inside_mean_std["r32"], mean_std["r32"], strict=True):
        assert torch.equal(ours, theirs)


def test_other_pixels_are_not_taken_from_the_cache(
    pixels: np.ndarray, vgg_mini: Backbone, tmp_path: Path
) -> None:
    def vectors(key: str, images: np.ndarray) -> np.ndarray:
        view = ImageView(images, np.arange(4), key)
        return pooled_features(view, "r12", vgg_mini, device="cpu", cache_dir=tmp_path)

    first = vectors("one", pixels)
    assert not np.allclose(first, vectors("other", 255 - pixels))
    assert np.array_equal(first, vectors("one", pixels))


def test_vectors_of_another_network_are_not_taken_from_the_cache(
    vgg_mini: Backbone, view: Callable[[slice], ImageView], tmp_path: Path
) -> None:
    weights = {key: 2 * values for key, values in vgg_mini.weights.items()}
    larger = replace(vgg_mini, weights=weights, digest=weights_digest(weights))
    one, other, alone = (
        pooled_features(view(slice(0, 5)), "r12", backbone, device="cpu", cache_dir=folder)
        for backbone, folder in (
            (vgg_mini, tmp_path / "both"),
            (larger, tmp_path / "both"),
            (larger, tmp_path / "alone"),
        )
    )
    assert not np.allclose(one, other)
    assert np.array_equal(other, alone)


def test_a_damaged_cache_is_made_anew_with_a_note(
    vgg_mini: Backbone,
    view: Callable[[slice], ImageView],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def vectors() -> np.ndarray:
        found = view(slice(0, 5))
        return pooled_features(found, "r22", vgg_mini, device="cpu", cache_dir=tmp_path)

    expected = vectors()
    (path,) = (tmp_path / "pooled").glob("*.npz")
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", whole[:-200], bytes(flipped), b"no zip file " * 99):
        path.write_bytes(content)
        caplog.clear()
        for _ in range(2):
            np.testing.assert_array_equal(vectors(), expected)
        assert caplog.text.count("made anew") <= 1
    assert f"{path}: damaged" in caplog.text
