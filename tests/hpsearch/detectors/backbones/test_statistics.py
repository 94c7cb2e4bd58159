from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpa_core.vgg import VGGArchitecture
from hpsearch.detectors.backbones import statistics
from hpsearch.detectors.backbones.backbone import Backbone, build_extractor
from hpsearch.detectors.backbones.statistics import (
    MAX_IMAGES,
    STD_FLOOR,
    cached_statistics,
    compute_statistics,
)
from hpsearch.detectors.backbones.weight_files import weights_digest
from hpsearch.errors import DataError

TINY = VGGArchitecture("tiny", ((4, 4), (6,)))


def make_backbone(**changed: Tensor) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = TINY.build("r21").state_dict()
    for key in state:
        if key.endswith("bias"):
            state[key] += 0.3  # no channel is (nearly) dead
    weights = {f"features.{key}": value for key, value in state.items()} | changed
    return Backbone(TINY, weights, None, weights_digest(weights), "test")


def make_images(count: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, 16, 16, channels), dtype=np.uint8)


def raw_features(backbone: Backbone, images: NDArray[np.uint8]) -> Mapping[str, Tensor]:
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    features: Mapping[str, Tensor] = build_extractor(backbone, TINY.layers)(scaled)
    return features


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_equals_numpy_whatever_the_batch_size(batch_size: int, channels: int) -> None:
    backbone, images = make_backbone(), make_images(20, channels)

    found = compute_statistics(backbone, images, TINY.layers, batch_size=batch_size)

    for layer, features in raw_features(backbone, images).items():
        values = features.double().numpy()
        mean, std = found[layer]
        np.testing.assert_allclose(mean, values.mean(axis=(0, 2, 3)), rtol=1e-5, atol=1e-7)
        assert values.std(axis=(0, 2, 3)).min() > 2 * STD_FLOOR * values.std()
        np.testing.assert_allclose(std, values.std(axis=(0, 2, 3)), rtol=1e-5)


def test_features_come_out_with_mean_zero_and_std_one() -> None:
    backbone, images = make_backbone(), make_images(20)
    extractor = build_extractor(
        backbone, ["r12"], compute_statistics(backbone, images, ["r12"], batch_size=8)
    )
    features = extractor(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)["r12"]
    std, mean = torch.std_mean(features, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, torch.ones(4), atol=1e-4, rtol=0)


def test_dead_channel_gets_a_floor_relative_to_its_layer() -> None:
    alive = make_backbone()
    weight = alive.weights["features.2.weight"].clone()
    bias = alive.weights["features.2.bias"].clone()
    weight[1], bias[1] = 0, -1
    dead = make_backbone(**{"features.2.weight": weight, "features.2.bias": bias})

    mean, std = compute_statistics(dead, make_images(10), ["r12"])["r12"]

    others = std[torch.tensor([0, 2, 3])]
    assert mean[1] == 0
    torch.testing.assert_close(std[1], STD_FLOOR * (others.square().sum() / 4).sqrt())


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_layer_is_divided_by_one(value: float) -> None:
    weights = make_backbone().weights
    constant = make_backbone(
        **{
            "features.0.weight": torch.zeros_like(weights["features.0.weight"]),
            "features.0.bias": torch.full((4,), value),
        }
    )
    _, std = compute_statistics(constant, make_images(3), ["r11"], batch_size=2)["r11"]
    torch.testing.assert_close(std, torch.ones(4))


def test_looks_at_a_seeded_choice_of_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, images = make_backbone(), make_images(60)
    first = compute_statistics(backbone, images, ["r11"], max_images=10, seed=3)
    again = compute_statistics(backbone, images, ["r11"], max_images=10, seed=3)
    other = compute_statistics(backbone, images, ["r11"], max_images=10, seed=4)
    assert torch.equal(first["r11"][0], again["r11"][0])
    assert not torch.equal(first["r11"][0], other["r11"][0])

    seen: list[int] = []
    add = statistics._Moments.add

    def count(self: statistics._Moments, features: Tensor) -> None:
        seen.append(len(features))
        add(self, features)

    monkeypatch.setattr(statistics._Moments, "add", count)
    compute_statistics(backbone, make_images(MAX_IMAGES + 5), ["r11"], batch_size=256)
    assert sum(seen) == MAX_IMAGES
    assert max(seen) <= 256


def test_cache_is_keyed_by_weights_layers_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def counting(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        return compute_statistics(*args, **kwargs)

    monkeypatch.setattr(statistics, "compute_statistics", counting)
    backbone, images = make_backbone(), make_images(6)
    changed = make_backbone(**{"features.0.bias": torch.ones(4)})

    first = cached_statistics(backbone, images, ["r11"], data_key="a", cache_dir=tmp_path)
    again = cached_statistics(backbone, images, ["r11"], data_key="a", cache_dir=tmp_path)
    assert calls == 1
    assert all(torch.equal(a, b) for a, b in zip(first["r11"], again["r11"], strict=True))

    cached_statistics(backbone, images, ["r11"], data_key="b", cache_dir=tmp_path)
    cached_statistics(backbone, images, ["r11", "r12"], data_key="a", cache_dir=tmp_path)
    cached_statistics(changed, images, ["r11"], data_key="a", cache_dir=tmp_path)
    assert calls == 4


def test_damaged_cache_is_computed_anew(tmp_path: Path) -> None:
    backbone, images = make_backbone(), make_images(6)
    first = cached_statistics(backbone, images, ["r11"], data_key="a", cache_dir=tmp_path)
    (stored,) = tmp_path.glob("*.safetensors")
    stored.write_bytes(stored.read_bytes()[:50])

    again = cached_statistics(backbone, images, ["r11"], data_key="a", cache_dir=tmp_path)

    assert torch.equal(first["r11"][1], again["r11"][1])
    assert len(stored.read_bytes()) > 50


def test_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(DataError, match="cannot be written") as caught:
        cached_statistics(
            make_backbone(), make_images(2), ["r11"], data_key="a", cache_dir=blocked / "cache"
        )
    assert "\n" not in str(caught.value)
