"""The relative perceptual L1 loss, pixel L1, and their weighted sum, which is the anomaly score.

Sources: paper, sections 3.1 (the loss and the score), 3.2 (growing) and 4.6 (pixel L1).
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dpa_core.config import LossConfig
from dpa_core.features import FeatureExtractor, Precision
from dpa_core.growth import Phase, halve

_SMALLEST_NORM = 1e-8  # keeps an image without any feature response from dividing by zero

Features = Mapping[str, Tensor]
"""f̂ of a batch: per layer `(N, C, H, W)`."""


def relative_l1(target: Tensor, reconstruction: Tensor) -> Tensor:
    """`mean|f̂(x) - f̂(x̂)| / mean|f̂(x)|`, one number per image.

    Args:
        target: f̂(x) of shape `(N, C, H, W)`; the denominator carries no gradient.
        reconstruction: f̂(x̂) of the same shape.

    Returns:
        `(N,)`.
    """
    return (target - reconstruction).abs().mean(dim=(1, 2, 3)) / _norm(target)


def relative_l1_map(target: Tensor, reconstruction: Tensor) -> Tensor:
    """The same at each position, `(N, H, W)`; its mean over positions is `relative_l1`."""
    return (target - reconstruction).abs().mean(dim=1) / _norm(target)[:, None, None]


def pixel_l1(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean absolute difference of the pixels of `(N, C, H, W)`, `(N,)`."""
    return (x - reconstruction).abs().mean(dim=(1, 2, 3))


class ReconstructionLoss:
    """Perceptual loss and pixel L1 as the configuration weighs them.

    Args:
        config: weights of the losses and of the layers.
        extractor: holds every layer of `config`; its device is where everything runs.
        precision: of the extractor.
    """

    def __init__(
        self, config: LossConfig, extractor: FeatureExtractor, precision: Precision = "float32"
    ) -> None:
        self.config = config
        self.extractor = extractor
        self.precision = precision

    @property
    def device(self) -> torch.device:
        """Where the loss is computed."""
        return self.extractor.device

    def compiled(self) -> "ReconstructionLoss":
        """The same with its network compiled by torch.compile."""
        compiled = cast(FeatureExtractor, torch.compile(self.extractor))
        return ReconstructionLoss(self.config, compiled, self.precision)

    def in_precision(self, precision: Precision) -> "ReconstructionLoss":
        """The same, computed in another precision."""
        return ReconstructionLoss(self.config, self.extractor, precision)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """f̂ of the layers that count at the images' resolution; none without a perceptual loss."""
        if self.config.perceptual == 0:
            return {}
        layers: dict[str, Tensor] = self.extractor(
            images, tuple(self.config.layers_at(images.shape[-1])), self.precision
        )
        return layers

    def __call__(
        self, x: Tensor, reconstruction: Tensor, phase: Phase, target: Features | None = None
    ) -> Tensor:
        """One number per image; in a transition the blend of the new and the old resolution's.

        Args:
            x: `(N, C, R, R)` with R = `phase.resolution`.
            reconstruction: of the same shape.
            phase: of the network.
            target: `features` of x, where they are known already; None in a transition.

        Returns:
            `(N,)`.
        """
        if phase.alpha == 1:
            return self._settled(x, reconstruction, target)
        fine = self._settled(x, reconstruction, None)
        coarse = self._settled(halve(x), halve(reconstruction), None)
        return torch.lerp(coarse, fine, phase.alpha)

    def maps(self, x: Tensor, reconstruction: Tensor) -> Tensor:
        """The loss at each pixel, `(N, R, R)`: errors of coarser layers are up-sampled."""
        total = self.config.l1 * (x - reconstruction).abs().mean(dim=1)
        target, found = self.features(x), self.features(reconstruction)
        for layer, share in self._shares(target, x.shape[-1]).items():
            errors = relative_l1_map(target[layer], found[layer])
            size = x.shape[-2:]
            total = total + share * interpolate(errors[:, None], size=size, mode="bilinear")[:, 0]
        return total

    def _settled(self, x: Tensor, reconstruction: Tensor, target: Features | None) -> Tensor:
        if target is None:
            with torch.no_grad():
                target = self.features(x)
        total = self.config.l1 * pixel_l1(x, reconstruction) if self.config.l1 else 0
        found = self.features(reconstruction)
        for layer, share in self._shares(target, x.shape[-1]).items():
            total = total + share * relative_l1(target[layer], found[layer])
        assert isinstance(total, Tensor)  # the configuration has at least one of the two losses
        return total

    def _shares(self, target: Features, resolution: int) -> dict[str, float]:
        """Weight of each layer's loss: together they are the weight of the perceptual loss."""
        weights = self.config.layers_at(resolution)
        total = sum(weights[layer] for layer in target)
        return {layer: self.config.perceptual * weights[layer] / total for layer in target}


def _norm(target: Tensor) -> Tensor:
    return target.detach().abs().mean(dim=(1, 2, 3)).clamp_min(_SMALLEST_NORM)
