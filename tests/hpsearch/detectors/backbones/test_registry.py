"""Which channel statistics a backbone comes with."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dpa_core.tensor_files import read_tensors
from dpa_core.vgg import VGG19, VGG_MINI, VGGArchitecture
from hpsearch.detectors.backbones.backbone import BUNDLED_VGG_MINI, VGG19_STATISTICS, load_backbone
from hpsearch.detectors.backbones.weight_files import read_metadata, statistics_of
from hpsearch.errors import WeightsError


def _weights(architecture: VGGArchitecture, deepest: str) -> dict[str, Tensor]:
    state = architecture.build(deepest).state_dict()
    return {f"features.{key}": value.clone() for key, value in state.items()}


def _statistics(layers: dict[str, int]) -> dict[str, Tensor]:
    found = {}
    for layer, channels in layers.items():
        found |= {f"statistics.{layer}.mean": torch.zeros(channels)}
        found |= {f"statistics.{layer}.std": torch.full((channels,), 2.0)}
    return found


def test_other_weights_of_vgg19_get_the_authors_statistics_and_say_so(tmp_path: Path) -> None:
    save_file(_weights(VGG19, "r12"), tmp_path / "mine.safetensors")
    backbone = load_backbone("vgg19", weights_file=tmp_path / "mine.safetensors")
    authors = statistics_of(read_tensors(VGG19_STATISTICS))
    assert backbone.statistics is not None and authors is not None
    assert set(backbone.statistics) == set(VGG19.layers)
    assert torch.equal(backbone.statistics["r42"][1], authors["r42"][1])
    assert backbone.statistics_source == (
        "ILSVRC2012 images, by the paper's authors for torchvision's VGG-19, whatever the weights "
        "in mine.safetensors are"
    )
    assert backbone.layers == ("r11", "r12")


def test_the_bundled_statistics_tell_their_origin() -> None:
    card = VGG19_STATISTICS.with_suffix(".md").read_text(encoding="utf-8")
    metadata = read_metadata(VGG19_STATISTICS)
    assert metadata["source"] == "ninatu/anomaly_detection, Apache-2.0"
    assert "ninatu/anomaly_detection" in card and "Apache-2.0" in card
    assert VGG19_STATISTICS.stat().st_size < 50_000
    for layer in VGG19.layers:
        mean, std = statistics_of(read_tensors(VGG19_STATISTICS))[layer]  # type: ignore[index]
        assert mean.shape == std.shape == (VGG19.channels(layer),)
        assert (mean > 0).all() and (std > 0).all()


@pytest.mark.shared_data
def test_the_bundled_statistics_are_the_authors(shared_data: Path) -> None:
    theirs = load_file(shared_data / "vgg19_ilsvrc_statistics.safetensors")
    ours = read_tensors(VGG19_STATISTICS)
    assert set(ours) == {f"statistics.{key}" for key in theirs}
    assert all(torch.equal(ours[f"statistics.{key}"], values) for key, values in theirs.items())


def test_statistics_in_the_file_of_the_weights_come_first(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(_weights(VGG19, "r12") | _statistics({"r11": 64, "r12": 64}), path)
    backbone = load_backbone("vgg19", weights_file=path)
    assert backbone.statistics is not None
    assert torch.equal(backbone.statistics["r12"][1], torch.full((64,), 2.0))
    assert backbone.statistics_source == "natural images, stored in mine.safetensors"


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ({"r11": 16}, "layer 'r12' is missing"),
        ({"r11": 16, "r12": 8}, r"'statistics\.r12\.mean' must have shape \(16\), got \(8,\)"),
    ],
)
def test_a_file_with_some_statistics_is_refused(
    layers: dict[str, int], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(_weights(VGG_MINI, "r12") | _statistics(layers), path)
    with pytest.raises(WeightsError, match=says) as caught:
        load_backbone("vgg-mini", weights_file=path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_weights_of_vgg_mini_have_none(tmp_path: Path) -> None:
    save_file(_weights(VGG_MINI, "r12"), tmp_path / "mine.safetensors")
    backbone = load_backbone("vgg-mini", weights_file=tmp_path / "mine.safetensors")
    assert backbone.statistics is None
    assert backbone.statistics_digest is None


def test_a_file_of_statistics_takes_the_place_of_all_others() -> None:
    usual = load_backbone("vgg-mini")
    changed = load_backbone("vgg-mini", statistics_file=VGG19_STATISTICS)
    assert changed.statistics_source == "ILSVRC2012 object detection"
    assert changed.digest == usual.digest
    assert changed.statistics_digest != usual.statistics_digest
    assert usual.statistics_source == f"natural images, stored in {BUNDLED_VGG_MINI.name}"


def test_a_damaged_file_of_statistics_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(VGG19_STATISTICS.read_bytes()[:100])
    for name in ("a", "missing"):
        with pytest.raises(WeightsError, match="missing or damaged") as caught:
            load_backbone("vgg-mini", statistics_file=tmp_path / f"{name}.safetensors")
        assert "\n" not in str(caught.value)
