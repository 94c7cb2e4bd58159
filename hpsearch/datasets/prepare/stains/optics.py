"""Light through stained tissue: grey levels, optical densities, and where there is tissue.

Layout: a batch of tiles is a tensor `(N, 3, P)`, red, green and blue of P pixels.
"""

import math

import torch
from torch import Tensor

LIGHT = 255.0  # grey level of unstained glass
TISSUE_DENSITY = 0.15  # mean over red, green and blue from which a pixel counts as tissue
LEAST_TISSUE = 0.02  # fraction of a tile's pixels without which no stains are sought
LEAST_SPREAD = 0.02  # of the densities of the tissue; below it, the tile is of one colour


def planes(tiles: Tensor) -> Tensor:
    """uint8 `(N, H, W, 3)` as `(N, 3, H * W)`."""
    return tiles.flatten(1, 2).transpose(1, 2).contiguous()


def optical_density(grey_levels: Tensor) -> Tensor:
    """Natural logarithm of light over grey level (Beer-Lambert), float32; black counts as 1."""
    return math.log(LIGHT) - grey_levels.clamp_min(1).to(torch.float32).log_()


def from_densities(densities: Tensor) -> Tensor:
    """The uint8 grey levels behind optical `densities`, which are used up; undoes the above."""
    return densities.neg_().exp_().mul_(LIGHT).round_().clamp_(0, 255).to(torch.uint8)


def has_stains(densities: Tensor, tissue: Tensor) -> Tensor:
    """Which of N tiles have enough tissue, of more than one colour, to tell stains in; bool `(N,)`.

    Args:
        densities: `(N, 3, P)`.
        tissue: bool `(N, P)`.
    """
    weights = tissue.to(densities.dtype).unsqueeze(1)
    n_tissue = weights.sum(dim=2).clamp_min(1)
    mean = (densities * weights).sum(dim=2) / n_tissue
    squares = ((densities - mean.unsqueeze(2)) * weights).square().sum(dim=2)
    spread = (squares / n_tissue).sqrt().amax(dim=1)
    return (tissue.double().mean(dim=1) >= LEAST_TISSUE) & (spread >= LEAST_SPREAD)
