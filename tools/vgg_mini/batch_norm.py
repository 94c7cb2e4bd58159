"""Batch normalisation of a trained network folded into its convolutions."""

import torch
from torch import Tensor, nn


def fold_batch_norm(features: nn.Sequential) -> dict[str, Tensor]:
    """Weights of the plain network that computes what `features` computes in evaluation mode.

    With `s = γ / sqrt(var + ε)` the convolution's weight becomes `s·w` and its bias
    `s·(b - mean) + β`, worked out in float64.

    Args:
        features: modules in the order convolution, batch normalisation, ReLU, and poolings.

    Returns:
        float32 tensors under torchvision's keys of the network without batch normalisation,
        `features.N.weight` and `features.N.bias`.
    """
    folded: dict[str, Tensor] = {}
    kept = [module for module in features if not isinstance(module, nn.BatchNorm2d)]
    norms = [module for module in features if isinstance(module, nn.BatchNorm2d)]
    convolutions = [(n, module) for n, module in enumerate(kept) if isinstance(module, nn.Conv2d)]
    for (position, convolution), norm in zip(convolutions, norms, strict=True):
        weight, bias = _fold(convolution, norm)
        folded[f"features.{position}.weight"] = weight
        folded[f"features.{position}.bias"] = bias
    return folded


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, variance = (
        norm.get_buffer("running_mean").double(),
        norm.get_buffer("running_var").double(),
    )
    scale = norm.weight.detach().double() / torch.sqrt(variance + norm.eps)
    bias = convolution.bias.detach().double() if convolution.bias is not None else 0.0
    weight = convolution.weight.detach().double() * scale.view(-1, 1, 1, 1)
    return weight.float().contiguous(), (
        scale * (bias - mean) + norm.bias.detach().double()
    ).float()
