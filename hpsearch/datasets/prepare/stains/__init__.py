"""Stain normalisation: tiles of differently stained slides as if one laboratory had stained them.

normalise = normaliser("vahadane", target)
tiles = normalise(tiles)  # uint8 (N, H, W, 3)
"""

from hpsearch.datasets.prepare.stains.choice import (
    NORMALISERS,
    Normalise,
    NormaliserName,
    normaliser,
)

__all__ = ["NORMALISERS", "Normalise", "NormaliserName", "normaliser"]
