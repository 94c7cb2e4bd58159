import os
import socket
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import VGG19_Weights

from dpa_core.vgg import VGG19
from hpsearch.detectors.backbones.backbone import build_extractor, load_backbone
from hpsearch.errors import SpecError, WeightsError

STAND_IN = "vgg19_standin.fp16.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    "failure",
    [
        URLError("Name or service not known"),
        TimeoutError("timed out"),
        RuntimeError("invalid hash value\n(expected dcbb9e9d)"),
        PermissionError(13, "Permission denied"),
    ],
)
def test_failed_download_names_the_ways_out_in_one_line(
    failure: Exception, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts: list[float | None] = []

    def fail(*args: object, **kwargs: object) -> None:
        timeouts.append(socket.getdefaulttimeout())
        raise failure

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    before = socket.getdefaulttimeout()

    with pytest.raises(WeightsError) as caught:
        load_backbone("vgg19")

    message = str(caught.value)
    assert "\n" not in message
    assert VGG19_Weights.IMAGENET1K_V1.url in message
    assert str(hub) in message
    assert "--backbone-weights" in message
    assert "--backbone vgg-mini" in message
    assert timeouts[0] is not None and timeouts[0] <= 30
    assert socket.getdefaulttimeout() == before


def test_file_in_torchvisions_cache_is_used_without_a_download(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("downloads")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    hub.mkdir()
    shallow = {f"features.{k}": v for k, v in VGG19.build("r12").state_dict().items()}
    torch.save(shallow, hub / Path(VGG19_Weights.IMAGENET1K_V1.url).name)

    backbone = load_backbone("vgg19")

    assert backbone.source == "torchvision VGG19_Weights.IMAGENET1K_V1"
    assert backbone.statistics_source == (
        "ILSVRC2012 images, by the paper's authors for torchvision's VGG-19"
    )
    assert build_extractor(backbone, ["r12"]).layers == ("r12",)


def test_damaged_file_in_torchvisions_cache_is_named(hub: Path) -> None:
    hub.mkdir()
    path = hub / Path(VGG19_Weights.IMAGENET1K_V1.url).name
    path.write_bytes(b"half a download")
    with pytest.raises(WeightsError, match=path.name) as caught:
        load_backbone("vgg19")
    assert "\n" not in str(caught.value)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SpecError, match="vgg19, vgg-mini"):
        load_backbone("resnet18")


@pytest.mark.shared_data
def test_stand_in_network_of_full_size() -> None:
    path = Path(os.environ.get("HPSEARCH_SHARED", "../shared/data")) / STAND_IN
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    backbone = load_backbone("vgg19", weights_file=path)
    features = build_extractor(backbone, ["r42", "r32"])(torch.zeros(1, 1, 32, 32))
    assert {layer: tuple(f.shape) for layer, f in features.items()} == {
        "r32": (1, 256, 8, 8),
        "r42": (1, 512, 4, 4),
    }
