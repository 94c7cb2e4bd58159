"""A frozen feature network as data: which VGG, its weights, and where they came from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dpa_core.features import LayerStatistics, VGGArchitecture


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pre-trained VGG.

    Attributes:
        architecture: widths of its convolutions.
        weights: float32 tensors under torchvision's keys `features.N.weight` and `features.N.bias`.
        statistics: channel statistics that came with the weights, at the scale they were made for.
        digest: sha256 of the weight values, whatever file or precision they were read from.
        source: where the weights came from, for the provenance.
    """

    architecture: VGGArchitecture
    weights: Mapping[str, Tensor]
    statistics: LayerStatistics | None
    digest: str
    source: str


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Sha256 over keys, shapes and float32 values, in the order of the keys."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        values = weights[key].detach().cpu().float().numpy().astype("<f4", order="C")
        digest.update(f"{key}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
