"""A frozen feature network as data: which VGG, its weights, and where they came from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dpa_core.features import LayerStatistics, VGGArchitecture
from hpsearch.backbones.safe_tensors import statistics_tensors


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
