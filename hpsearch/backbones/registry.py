"""Backbones by name."""

from pathlib import Path

from dpa_core.features import VGG19, VGG_MINI
from hpsearch.backbones.backbone import Backbone, weights_digest
from hpsearch.backbones.vgg19 import torchvision_vgg19
from hpsearch.backbones.weights import read_weights
from hpsearch.errors import SpecError

BUNDLED_VGG_MINI = Path(__file__).with_name("vgg-mini.safetensors")

_ARCHITECTURES = {architecture.name: architecture for architecture in (VGG19, VGG_MINI)}


def load_backbone(name: str, *, weights_file: Path | None = None) -> Backbone:
    """A backbone with its weights.

    Args:
        name: `vgg19` or `vgg-mini`.
        weights_file: its weights; None for torchvision's file of vgg19, which is downloaded when it
            is not in torchvision's cache folder, and for the bundled file of vgg-mini.

    Raises:
        SpecError: an unknown name.
        WeightsError: the weights are missing, damaged, or those of another network.
    """
    if name not in _ARCHITECTURES:
        raise SpecError(f"backbone {name!r}: must be one of {', '.join(_ARCHITECTURES)}")
    path, source = _locate(name, weights_file)
    weights, statistics = read_weights(path, _ARCHITECTURES[name])
    return Backbone(_ARCHITECTURES[name], weights, statistics, weights_digest(weights), source)


def _locate(name: str, weights_file: Path | None) -> tuple[Path, str]:
    if weights_file is not None:
        return weights_file, str(weights_file)
    if name == VGG19.name:
        return torchvision_vgg19(), "torchvision VGG19_Weights.IMAGENET1K_V1"
    return BUNDLED_VGG_MINI, f"bundled {BUNDLED_VGG_MINI.name}"
