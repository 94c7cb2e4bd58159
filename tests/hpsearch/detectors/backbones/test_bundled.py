import numpy as np
import torch

from dpa_core.tensor_files import read_tensors
from dpa_core.vgg import VGG_MINI
from hpsearch.detectors.backbones.backbone import BUNDLED_VGG_MINI, build_extractor, load_backbone
from hpsearch.detectors.backbones.weight_files import read_metadata

CARD = BUNDLED_VGG_MINI.with_suffix(".md").read_text(encoding="utf-8")


def test_is_small_and_holds_only_convolutions_and_statistics() -> None:
    tensors = read_tensors(BUNDLED_VGG_MINI)
    weights = {key: value for key, value in tensors.items() if key.startswith("features.")}
    assert BUNDLED_VGG_MINI.stat().st_size <= 1_200_000
    assert sum(value.numel() for value in weights.values()) <= 600_000
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert {key.split(".")[0] for key in tensors} == {"features", "statistics"}
    assert set(weights) == {f"features.{key}" for key in VGG_MINI.build("r42").state_dict()}


def test_digest_is_the_one_of_its_training() -> None:
    backbone = load_backbone("vgg-mini")
    assert read_metadata(BUNDLED_VGG_MINI)["digest"] == backbone.digest
    assert f"`{backbone.digest}`" in CARD
    assert backbone.source == "bundled vgg-mini.safetensors"


def test_card_tells_the_accuracy_and_seed_of_the_file() -> None:
    metadata = read_metadata(BUNDLED_VGG_MINI)
    accuracy = float(metadata["test_accuracy"])
    assert accuracy > 0.8
    assert f"Test accuracy: {100 * accuracy:.2f} %" in CARD
    assert f"Seed: {metadata['seed']}." in CARD
    assert f"{metadata['epochs']} epochs" in CARD


def test_statistics_cover_every_layer() -> None:
    statistics = load_backbone("vgg-mini").statistics
    assert statistics is not None
    assert set(statistics) == set(VGG_MINI.layers)
    for layer in ("r12", "r22", "r32", "r42"):
        mean, std = statistics[layer]
        assert (mean > 0).all()  # after a ReLU a mean of zero is a dead channel
        assert std.min() > 0.05 * std.max()
    dead = sum(int((mean == 0).sum()) for mean, _ in statistics.values())
    assert f"zero on every training image, over all layers: {dead}." in CARD


def test_features_of_coloured_textures_are_about_normalised() -> None:
    # Smoothed noise with the spectrum of photographs stands in for the training images.
    backbone = load_backbone("vgg-mini")
    images = photograph_like(64, np.random.default_rng(0))
    for layer, values in build_extractor(backbone, VGG_MINI.layers, backbone.statistics)(
        images
    ).items():
        std, mean = torch.std_mean(values, correction=0)
        assert abs(mean) < 0.5, layer
        assert 0.4 < std < 2.5, layer


def photograph_like(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Images `(count, 3, 32, 32)` in [-1, 1] with a 1/f amplitude spectrum, mostly grey."""
    noise = rng.standard_normal((count, 3, 32, 32))
    noise = 0.9 * noise[:, :1] + 0.4 * noise
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None, :])
    spectrum = np.fft.fft2(noise) / np.maximum(frequency, 1 / 32)
    images = np.fft.ifft2(spectrum).real
    images *= 0.5 / images.std()
    return torch.from_numpy(images).float().clamp(-1, 1)
