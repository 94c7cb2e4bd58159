"""A frozen feature network: which VGG, its weights by name or file, and the extractor they make."""

import hashlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from dpa_core.errors import ConfigError
from dpa_core.errors import WeightsError as CoreWeightsError
from dpa_core.features import (
    VGG19,
    VGG_MINI,
    FeatureExtractor,
    LayerStatistics,
    VGGArchitecture,
    layer_statistics,
)
from hpsearch.detectors.backbones.weights import (
    read_statistics,
    read_weights,
    statistics_tensors,
)
from hpsearch.errors import SpecError, WeightsError
from hpsearch.io.files import printable


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pre-trained VGG.

    Attributes:
        architecture: widths of its convolutions.
        weights: float32 tensors under torchvision's keys `features.N.weight` and `features.N.bias`.
        statistics: channel statistics over natural images; None where there are none for it.
        digest: sha256 of the weight values, whatever file or precision they were read from.
        source: where the weights came from, for the provenance.
        statistics_source: over which images the statistics were taken, for the provenance.
    """

    architecture: VGGArchitecture
    weights: Mapping[str, Tensor]
    statistics: LayerStatistics | None
    digest: str
    source: str
    statistics_source: str = "none"

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that the weights reach, from the shallowest."""
        return tuple(
            layer
            for layer in self.architecture.layers
            # The last module before a layer's ReLU is its convolution.
            if f"features.{self.architecture.depth(layer) - 2}.weight" in self.weights
        )

    @property
    def statistics_digest(self) -> str | None:
        """Sha256 of the values of the statistics."""
        if self.statistics is None:
            return None
        return weights_digest(statistics_tensors(self.statistics))


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Sha256 over keys, shapes and float32 values, in the order of the keys."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        values = weights[key].detach().cpu().float().numpy().astype("<f4", order="C")
        digest.update(f"{key}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


_TIMEOUT = 10.0  # seconds without an answer from the server


def torchvision_vgg19() -> Path:
    """The file of the weights (about 550 MB), downloaded with a progress bar when it is missing.

    Raises:
        WeightsError: it is missing and cannot be downloaded; the message names the ways out.
    """
    # Only here: importing torchvision's models takes longer than torch itself.
    from torchvision.models import VGG19_Weights

    weights = VGG19_Weights.IMAGENET1K_V1
    path = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    if not path.is_file():
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT)
        try:
            weights.get_state_dict(
                progress=True, check_hash=True, map_location="cpu", weights_only=True
            )
        except (OSError, HTTPException, RuntimeError) as error:
            raise WeightsError(
                printable(
                    f"backbone vgg19: its weights cannot be downloaded ({error}); on a connected "
                    f"machine torchvision downloads {weights.url}: let it, and put that file into "
                    f"{path.parent}, or give --backbone-weights FILE, or take --backbone vgg-mini"
                )
            ) from error
        finally:
            socket.setdefaulttimeout(before)
    return path


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
        statistics_file: that `hpsearch.detectors.backbones.statistics` made of a folder of images.

    Raises:
        SpecError: an unknown name.
        WeightsError: the weights are missing, damaged, or those of another network.
    """
    if name not in _ARCHITECTURES:
        raise SpecError(f"backbone {name!r}: must be one of {', '.join(_ARCHITECTURES)}")
    architecture = _ARCHITECTURES[name]
    if weights_file is not None:
        path, source = weights_file, str(weights_file)
    elif name == VGG19.name:
        path, source = torchvision_vgg19(), "torchvision VGG19_Weights.IMAGENET1K_V1"
    else:
        path, source = BUNDLED_VGG_MINI, f"bundled {BUNDLED_VGG_MINI.name}"
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


def _require_whole(path: Path, backbone: Backbone, statistics: LayerStatistics) -> None:
    """Refuse a file that has statistics, but not of every layer that its weights reach."""
    for layer in backbone.layers:
        try:
            layer_statistics(statistics, layer, backbone.architecture.channels(layer))
        except CoreWeightsError as error:
            raise WeightsError(
                printable(f"backbone weights {path}: {error}; store all of them, or none")
            ) from error
