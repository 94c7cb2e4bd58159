"""Networks of timm and torchvision, with random weights from a file."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from hpsearch.detectors.backbones.backbone import (
    Backbone,
    architecture_of,
    build_extractor,
    load_backbone,
)
from hpsearch.errors import SpecError, WeightsError

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
VIT = "vit_small_patch14_dinov2"


def made(create: Callable[[], nn.Module]) -> nn.Module:
    """A network with weights that are random, those of its normalisation too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create().eval()
        for key, values in network.state_dict().items():
            if key.endswith("running_mean"):
                values.normal_(std=0.1)
            if key.endswith("running_var"):
                values.uniform_(0.5, 1.5)
    return network


def backbone_with(network: nn.Module, name: str, folder: Path) -> Backbone:
    torch.save(network.state_dict(), folder / "weights.pth")
    return load_backbone(name, weights_file=folder / "weights.pth")


def images(side: int) -> Tensor:
    return 2 * torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) - 1


def normalised(x: Tensor) -> Tensor:
    return ((x + 1) / 2 - MEAN) / STD


@torch.no_grad()
@pytest.mark.parametrize(
    ("model", "nodes", "channels"),
    [
        ("resnet18", ("relu", "layer1", "layer2", "layer3", "layer4"), (64, 64, 128, 256, 512)),
        (
            "mobilenet_v3_small",
            ("features.0", "features.1", "features.3", "features.8", "features.12"),
            (16, 16, 24, 48, 576),
        ),
    ],
)
def test_stages_of_torchvision_are_its_own(
    model: str, nodes: tuple[str, ...], channels: tuple[int, ...], tmp_path: Path
) -> None:
    network = made(lambda: get_model(model, weights=None))
    backbone = backbone_with(network, f"torchvision:{model}", tmp_path)
    found = build_extractor(backbone, backbone.layers)(images(64))
    expected = create_feature_extractor(network, list(nodes))(normalised(images(64)))
    assert tuple(found) == ("s1", "s2", "s3", "s4", "s5")
    assert [backbone.architecture.stride(layer) for layer in found] == [2, 4, 8, 16, 32]
    assert tuple(backbone.architecture.channels(layer) for layer in found) == channels
    for layer, node in zip(found, nodes, strict=True):
        torch.testing.assert_close(found[layer], expected[node], msg=layer)


@torch.no_grad()
def test_stages_of_timm_are_its_own(tmp_path: Path) -> None:
    network = made(lambda: timm.create_model("resnet18", pretrained=False))
    backbone = backbone_with(network, "timm:resnet18", tmp_path)
    expected = network.forward_intermediates(normalised(images(64)), intermediates_only=True)
    found = build_extractor(backbone, backbone.layers)(images(64))
    assert tuple(found) == ("s1", "s2", "s3", "s4", "s5")
    for (layer, values), wanted in zip(found.items(), expected, strict=True):
        torch.testing.assert_close(values, wanted, msg=layer)
        assert backbone.architecture.channels(layer) == values.shape[1]
        assert backbone.architecture.stride(layer) == 64 // values.shape[3]
    alone = build_extractor(backbone, ["s2"])
    torch.testing.assert_close(alone(images(64))["s2"], expected[1])
    assert not any("layer3" in key for key in alone.state_dict()), "nothing deeper is built"


@torch.no_grad()
def test_blocks_of_a_transformer_are_maps_of_its_patches(tmp_path: Path) -> None:
    """At 64 px the patches of 14 px do not fit: the images are scaled to 70 px."""
    network = made(lambda: timm.create_model(VIT, pretrained=False, dynamic_img_size=True))
    backbone = backbone_with(network, f"timm:{VIT}", tmp_path)
    architecture = backbone.architecture
    assert architecture.layers == tuple(f"b{number}" for number in range(1, 13))
    assert architecture.smallest_image("b9") == architecture.stride("b9") == 14
    extractor = build_extractor(backbone, ["b3", "b12"])
    scaled = functional.interpolate(normalised(images(64)), (70, 70), mode="bilinear")
    for side, given in ((64, scaled), (28, normalised(images(28)))):
        found = extractor(images(side))
        tokens = network.forward_features(given)[:, 1:]  # without that of the class
        patches = given.shape[-1] // 14
        assert found["b3"].shape == (2, 384, patches, patches)
        wanted = tokens.transpose(1, 2).reshape(2, 384, patches, patches)
        torch.testing.assert_close(found["b12"], wanted, atol=1e-4, rtol=1e-4)


def test_a_network_is_frozen_however_it_is_used(tmp_path: Path) -> None:
    """Batch normalisation that a library keeps apart from its convolutions."""
    network = made(lambda: timm.create_model("resnet18", pretrained=False))
    extractor = build_extractor(backbone_with(network, "timm:resnet18", tmp_path), ["s2"])
    before = extractor(images(32))["s2"]
    nn.Sequential(extractor).train()
    assert torch.equal(extractor(images(32))["s2"], before)
    torch.testing.assert_close(extractor(images(32)[:1])["s2"], before[:1])


def test_the_digest_is_that_of_the_values_whatever_the_file(tmp_path: Path) -> None:
    network = made(lambda: timm.create_model("resnet18", pretrained=False))
    backbone = backbone_with(network, "timm:resnet18", tmp_path)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, tmp_path / "same.safetensors")
    again = load_backbone("timm:resnet18", weights_file=tmp_path / "same.safetensors")
    assert again.digest == backbone.digest
    assert backbone.statistics is None
    state["layer1.0.bn1.running_var"] += 1
    save_file(state, tmp_path / "other.safetensors")
    other = load_backbone("timm:resnet18", weights_file=tmp_path / "other.safetensors")
    assert other.digest != backbone.digest


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("timm:resnet181", "timm.list_models"),
        ("timm:swin_tiny_patch4_window7_224", "maps of images of any size"),
        ("torchvision:swin_t", "of the families resnet, "),
        ("torchvision:fcn_resnet50", "of the families resnet, "),
        ("resnet18", "lite0, lite1, lite2, vgg19, vgg-mini, or timm:NAME, or torchvision:NAME"),
    ],
)
def test_a_network_that_cannot_be_had_is_one_line(name: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        architecture_of(name)
    assert "\n" not in str(caught.value)


def test_timm_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SpecError, match=r"needs timm; pip install 'hpsearch\[timm\]'"):
        architecture_of("timm:resnet50")


def test_unknown_layer_names_the_known_ones(tmp_path: Path) -> None:
    for name in ("timm:resnet18", "torchvision:resnet18"):
        network = made(lambda: timm.create_model("resnet18", pretrained=False))
        backbone = backbone_with(network, name, tmp_path)
        with pytest.raises(SpecError, match=f"{name} has s1, s2, s3, s4, s5; choose among them"):
            build_extractor(backbone, ["r32"])


def test_weights_that_cannot_be_downloaded_are_one_line_with_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    create = timm.create_model

    def offline(*args: object, pretrained: bool, **kwargs: object) -> nn.Module:
        if pretrained:
            raise OSError("no connection\nto the hub")
        network: nn.Module = create(*args, pretrained=False, **kwargs)
        return network

    def fail(*args: object, **kwargs: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    for name in ("timm:resnet18", "torchvision:resnet18"):
        with pytest.raises(WeightsError, match=f"backbone {name}: its weights cannot") as caught:
            load_backbone(name)
        message = str(caught.value)
        assert "\n" not in message
        assert "--backbone-weights FILE" in message and "--backbone lite0" in message


def test_published_weights_of_timm_are_those_of_its_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = made(lambda: timm.create_model("resnet18", pretrained=False, num_classes=0))
    create = timm.create_model

    def cached(*args: object, pretrained: bool, **kwargs: object) -> nn.Module:
        made_now: nn.Module = network if pretrained else create(*args, pretrained=False, **kwargs)
        return made_now

    monkeypatch.setattr(timm, "create_model", cached)
    backbone = load_backbone("timm:resnet18")
    assert backbone.source == "timm resnet18.a1_in1k"
    assert backbone.digest == backbone_with(network, "timm:resnet18", tmp_path).digest
