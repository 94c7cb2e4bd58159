"""Normalisation by the extreme angles of the densities (Macenko et al. 2009), by torchstain.

Pixels that let one colour through are left out, and pale eosin lets red through: where a slide's
eosin is very pink, Macenko misses it, and Vahadane does not.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpsearch.datasets.prepare.stains.optics import LIGHT, has_stains, optical_density, planes
from hpsearch.errors import DataError, SpecError

LEAST_DENSITY = 0.15  # in each of red, green and blue; torchstain leaves out the other pixels


class Macenko:
    """Recolours tiles with torchstain, which finds the stains of each tile by itself."""

    def __init__(self, target: NDArray[np.uint8], device: str) -> None:
        self.device = device
        try:
            from torchstain.torch.normalizers.macenko import TorchMacenkoNormalizer
        except ImportError as error:
            what = "stains macenko: needs torchstain, which is not installed"
            raise SpecError(f"{what}; pip install 'hpsearch[wsi]', or take vahadane") from error
        self.method = TorchMacenkoNormalizer()
        tile = torch.tensor(target, device=device)
        if not _usable(tile):
            raise DataError("stain target: shows too little tissue; choose a tile full of it")
        self.method.fit(tile.permute(2, 0, 1), Io=LIGHT, beta=LEAST_DENSITY)

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tiles `(N, H, W, 3)` in the target's stains."""
        result = tiles.copy()
        for number, tile in enumerate(torch.tensor(tiles, device=self.device)):
            if _usable(tile):
                recoloured, _, _ = self.method.normalize(
                    tile.permute(2, 0, 1), Io=LIGHT, beta=LEAST_DENSITY, stains=False
                )
                result[number] = recoloured.clamp(0, 255).to(torch.uint8).cpu().numpy()
        return result


def _usable(tile: Tensor) -> bool:
    """Whether torchstain will find two stains in a tile uint8 `(H, W, 3)`."""
    densities = optical_density(planes(tile[None]))
    return bool(has_stains(densities, (densities >= LEAST_DENSITY).all(dim=1)))
