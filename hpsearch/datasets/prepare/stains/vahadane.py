"""Structure-preserving colour normalisation (Vahadane et al. 2016, IEEE TMI 35(8)).

The stains of tiles are found by a sparse non-negative factorisation. The densities V `(N, 3, P)` of
N tiles are explained as W H: W `(N, 3, 2)` holds a stain's colour in each column, of length 1, and
H `(N, 2, P)` how much of either stain there is in each pixel:

    minimise over W, H >= 0    1/2 |V - W H|² + sparsity * |H|₁

Sparsity says that most pixels are bound to one stain, and makes the factorisation unique.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpsearch.datasets.prepare.stains.optics import (
    TISSUE_DENSITY,
    from_densities,
    has_stains,
    optical_density,
    planes,
)
from hpsearch.errors import DataError

LEARNING_SPARSITY = 0.1  # of the factorisation, as in the paper
COLOUR_SPARSITY = 0.01  # of the recoloured tile: a larger one would bleach faint tissue
SAMPLE = 8_192  # pixels of a tile in which its stains are sought
SEED = 0  # of the sample
PSEUDO_MAXIMUM = 0.99  # quantile of the concentrations in tissue: a maximum without its outliers
PIXELS_AT_ONCE = 2**20  # bounds the memory: about 100 MB
ITERATIONS = 25  # 200 move the stains of the tests' mixtures by less than 1e-5

_TINY = 1e-9
# Haematoxylin and eosin (Ruifrok & Johnston 2001): a start near the answer.
_START = ((0.65, 0.07), (0.70, 0.99), (0.29, 0.11))


@dataclass(frozen=True, eq=False)
class Staining:
    """How N tiles are stained; the last axis of colours and maxima is haematoxylin, eosin.

    Attributes:
        colours: `(N, 3, 2)`, float32.
        maxima: `(N, 2)`, float32.
        has_tissue: `(N,)`, bool: False where a tile shows too little, and the rest is void.
    """

    colours: Tensor
    maxima: Tensor
    has_tissue: Tensor


class Vahadane:
    """Recolours tiles: concentrations of their own, scaled to the target's, in its stains."""

    def __init__(self, target: NDArray[np.uint8], device: str) -> None:
        self.device = device
        self.target = staining_of(self._planes(target[None]))
        if not bool(self.target.has_tissue):
            raise DataError("stain target: shows too little tissue; choose a tile full of it")

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tiles `(N, H, W, 3)` in the target's stains."""
        if len(tiles) == 0:
            return tiles
        at_once = max(1, PIXELS_AT_ONCE // (tiles.shape[1] * tiles.shape[2]))
        batches = (tiles[start : start + at_once] for start in range(0, len(tiles), at_once))
        return np.concatenate([self._normalised(batch) for batch in batches])

    def _planes(self, tiles: NDArray[np.uint8]) -> Tensor:
        return planes(torch.tensor(tiles, device=self.device))

    def _normalised(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        pixels = self._planes(tiles)
        own = staining_of(pixels)
        amounts = concentrations(optical_density(pixels), own.colours, sparsity=COLOUR_SPARSITY)
        # A stain that a tile lacks has nothing to scale.
        scale = torch.where(own.maxima > 0, self.target.maxima / own.maxima, 0)
        recoloured = from_densities((self.target.colours * scale.unsqueeze(1)) @ amounts)
        result = torch.where(own.has_tissue[:, None, None], recoloured, pixels)
        return result.transpose(1, 2).reshape(tiles.shape).cpu().numpy()


def staining_of(pixels: Tensor) -> Staining:
    """The staining of tiles uint8 `(N, 3, P)`, from a sample of their pixels.

    The sample is the same positions for all tiles of a size, so that a tile's result neither
    depends on chance nor on its batch.
    """
    generator = torch.Generator().manual_seed(SEED)
    positions = torch.randperm(pixels.shape[2], generator=generator)[:SAMPLE].to(pixels.device)
    densities = optical_density(pixels[:, :, positions]).double()
    tissue = densities.mean(dim=1) >= TISSUE_DENSITY
    colours = learn_stains(densities * tissue.unsqueeze(1), sparsity=LEARNING_SPARSITY)
    amounts = concentrations(densities, colours, sparsity=COLOUR_SPARSITY)
    in_tissue = amounts.masked_fill(~tissue.unsqueeze(1), torch.nan)
    maxima = torch.nanquantile(in_tissue, PSEUDO_MAXIMUM, dim=2)
    return Staining(colours.float(), maxima.float(), has_stains(densities, tissue))


def learn_stains(densities: Tensor, *, sparsity: float) -> Tensor:
    """W of each tile: haematoxylin, then eosin.

    Haematoxylin is the column with the larger red density: it is blue, it absorbs red light.
    Pixels without tissue are given as zeros, which no stain explains, and have no weight.

    Args:
        densities: V, `(N, 3, P)`, float64: thus a tile's W does not depend on its batch.
        sparsity: the penalty on concentrations, in units of optical density.
    """
    start = torch.nn.functional.normalize(densities.new_tensor(_START), dim=0)
    stains = start.repeat(len(densities), 1, 1)
    for _ in range(ITERATIONS):
        amounts = concentrations(densities, stains, sparsity=sparsity)
        stains = _improved(stains, densities, amounts)
    order = stains[:, 0].argsort(dim=1, descending=True)
    return stains.gather(2, order.unsqueeze(1).expand_as(stains))


def concentrations(densities: Tensor, stains: Tensor, *, sparsity: float) -> Tensor:
    """H for given stains, exactly.

    The least of a convex quadratic over the quarter-plane lies inside it where the least over the
    plane does, and otherwise on one of the two axes, where the stain with the larger projection
    explains more. The axes' ends, no stain at all, are the fourth case.
    """
    first, second = (stains.transpose(1, 2) @ densities - sparsity).unbind(dim=1)
    overlap = (stains[:, :, 0] * stains[:, :, 1]).sum(dim=1, keepdim=True)
    both_first, both_second = first - overlap * second, second - overlap * first
    inside = (both_first > 0) & (both_second > 0)
    scale = 1 / (1 - overlap.square()).clamp_min(_TINY)
    leads = first >= second
    return torch.stack(
        [
            torch.where(inside, both_first * scale, first.clamp_min(0) * leads),
            torch.where(inside, both_second * scale, second.clamp_min(0) * ~leads),
        ],
        dim=1,
    )


def _improved(stains: Tensor, densities: Tensor, amounts: Tensor) -> Tensor:
    """W after one round of block coordinate descent (Mairal et al. 2010, algorithm 2)."""
    gram = amounts @ amounts.transpose(1, 2)  # (N, 2, 2)
    explained = densities @ amounts.transpose(1, 2)  # (N, 3, 2)
    columns = list(stains.unbind(dim=2))
    for j in range(2):
        current = torch.stack(columns, dim=2)
        rest = explained[:, :, j] - (current @ gram[:, :, j : j + 1]).squeeze(2)
        moved = (columns[j] + rest / gram[:, j, j, None].clamp_min(_TINY)).clamp_min(0)
        length = moved.norm(dim=1, keepdim=True)
        columns[j] = torch.where(length > _TINY, moved / length.clamp_min(_TINY), columns[j])
    return torch.stack(columns, dim=2)
