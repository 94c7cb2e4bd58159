"""The relative perceptual L1 loss, which is also the anomaly score (paper, section 3.1)."""

from collections.abc import Mapping

import torch
from torch import Tensor

_SMALLEST_NORM = 1e-8  # keeps an image without any feature response from dividing by zero


def relative_l1(target: Tensor, reconstruction: Tensor) -> Tensor:
    """`mean|f̂(x) - f̂(x̂)| / mean|f̂(x)|`, one number per image.

    Args:
        target: f̂(x) of shape `(N, C, H, W)`; the denominator carries no gradient.
        reconstruction: f̂(x̂) of the same shape.

    Returns:
        `(N,)`.
    """
    distance = (target - reconstruction).abs().mean(dim=(1, 2, 3))
    norm = target.detach().abs().mean(dim=(1, 2, 3)).clamp_min(_SMALLEST_NORM)
    return distance / norm


def perceptual_loss(target: Mapping[str, Tensor], reconstruction: Mapping[str, Tensor]) -> Tensor:
    """Mean of `relative_l1` over the layers, `(N,)`; both arguments hold the same layers."""
    losses = [relative_l1(target[layer], reconstruction[layer]) for layer in target]
    return torch.stack(losses).mean(dim=0)
