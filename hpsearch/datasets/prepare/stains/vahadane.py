"""Structure-preserving colour normalisation (Vahadane et al. 2016, IEEE TMI 35(8))."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpsearch.datasets.prepare.stains.factorisation import concentrations, learn_stains
from hpsearch.datasets.prepare.stains.optics import (
    grey_levels,
    has_stains,
    optical_density,
    planes,
    tissue_mask,
)
from hpsearch.errors import DataError

LEARNING_SPARSITY = 0.1  # of the factorisation, as in the paper
COLOUR_SPARSITY = 0.01  # of the recoloured tile: a larger one would bleach faint tissue
SAMPLE = 8_192  # pixels of a tile in which its stains are sought
SEED = 0  # of the sample
PSEUDO_MAXIMUM = 0.99  # quantile of the concentrations in tissue: a maximum without its outliers
PIXELS_AT_ONCE = 2**20  # bounds the memory: about 100 MB


@dataclass(frozen=True, eq=False)
class Staining:
    """How N tiles are stained; the second axis of both is haematoxylin, eosin."""

    colours: Tensor  # (N, 3, 2), float32
    maxima: Tensor  # (N, 2), float32
    found: Tensor  # (N,), bool: False where a tile shows too little tissue, and the rest is void


class Vahadane:
    """Recolours tiles: concentrations of their own, scaled to the target's, in its stains."""

    def __init__(self, target: NDArray[np.uint8], device: str) -> None:
        self.device = device
        self.target = staining_of(self._planes(target[None]))
        if not bool(self.target.found):
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
        recoloured = grey_levels((self.target.colours * scale.unsqueeze(1)) @ amounts)
        result = torch.where(own.found[:, None, None], recoloured, pixels)
        return result.transpose(1, 2).reshape(tiles.shape).cpu().numpy()


def staining_of(pixels: Tensor) -> Staining:
    """The staining of tiles uint8 `(N, 3, P)`, from a sample of their pixels.

    The sample is the same positions for all tiles of a size, so that a tile's result neither
    depends on chance nor on its batch.
    """
    generator = torch.Generator().manual_seed(SEED)
    positions = torch.randperm(pixels.shape[2], generator=generator)[:SAMPLE].to(pixels.device)
    densities = optical_density(pixels[:, :, positions]).double()
    tissue = tissue_mask(densities)
    colours = learn_stains(densities * tissue.unsqueeze(1), sparsity=LEARNING_SPARSITY)
    amounts = concentrations(densities, colours, sparsity=COLOUR_SPARSITY)
    in_tissue = amounts.masked_fill(~tissue.unsqueeze(1), torch.nan)
    maxima = torch.nanquantile(in_tissue, PSEUDO_MAXIMUM, dim=2)
    return Staining(colours.float(), maxima.float(), has_stains(densities, tissue))
