"""Backbones by name."""

from dataclasses import replace
from pathlib import Path

from dpa_core.errors import WeightsError as CoreWeightsError
from dpa_core.features import VGG19, VGG_MINI, LayerStatistics, layer_statistics
from hpsearch.backbones.backbone import Backbone, weights_digest
from hpsearch.backbones.statistics import read_statistics
from hpsearch.backbones.vgg19 import torchvision_vgg19
from hpsearch.backbones.weights import read_weights
from hpsearch.errors import SpecError, WeightsError
from hpsearch.files import printable

BUNDLED_VGG_MINI = Path(__file__).with_name("vgg-mini.safetensors")
VGG19_STATISTICS = Path(__file__).with_name("vgg19-statistics.safetensors")
"""Of torchvision's VGG-19, the paper's authors'."""

_AUTHORS = "ILSVRC2012 images, by the paper's authors for torchvision's VGG-19"
_ARCHITECTURES = {architecture.name: architecture for architecture in (VGG19, VGG_MINI)}


def load_backbone(
    name: str, *, weights_file: Path | None = None, statistics_file: Path | None = None
) -> Backbone:
    """A backbone with its weights, and with channel statistics over natural images.

    The statistics are those of `statistics_file`, else those in the file of the weights, else, for
    vgg19, those of the paper's authors, whatever the weights are; else there are none.

    Args:
        name: `vgg19` or `vgg-mini`.
        weights_file: its weights; None for torchvision's file of vgg19, which is downloaded when it
            is not in torchvision's cache folder, and for the bundled file of vgg-mini.
        statistics_file: that `hpsearch.backbones.natural` made of a folder of images.

    Raises:
        SpecError: an unknown name.
        WeightsError: the weights are missing, damaged, or those of another network.
    """
    if name not in _ARCHITECTURES:
        raise SpecError(f"backbone {name!r}: must be one of {', '.join(_ARCHITECTURES)}")
    architecture = _ARCHITECTURES[name]
    path, source = _locate(name, weights_file)
    weights, stored = read_weights(path, architecture)
    backbone = Backbone(architecture, weights, stored, weights_digest(weights), source)
    if statistics_file is not None:
        statistics, said = read_statistics(statistics_file)
    elif stored is not None:
        _require_whole(path, backbone, stored)
        statistics, said = stored, f"natural images, stored in {path.name}"
    elif name == VGG19.name:
        statistics, _ = read_statistics(VGG19_STATISTICS)
        given = "" if weights_file is None else f", whatever the weights in {path.name} are"
        said = f"{_AUTHORS}{given}"
    else:
        return backbone
    return replace(backbone, statistics=statistics, statistics_source=said)


def _locate(name: str, weights_file: Path | None) -> tuple[Path, str]:
    if weights_file is not None:
        return weights_file, str(weights_file)
    if name == VGG19.name:
        return torchvision_vgg19(), "torchvision VGG19_Weights.IMAGENET1K_V1"
    return BUNDLED_VGG_MINI, f"bundled {BUNDLED_VGG_MINI.name}"


def _require_whole(path: Path, backbone: Backbone, statistics: LayerStatistics) -> None:
    """Refuse a file that has statistics, but not of every layer that its weights reach."""
    for layer in backbone.layers:
        try:
            layer_statistics(statistics, layer, backbone.architecture.channels(layer))
        except CoreWeightsError as error:
            raise WeightsError(
                printable(f"backbone weights {path}: {error}; store all of them, or none")
            ) from error
