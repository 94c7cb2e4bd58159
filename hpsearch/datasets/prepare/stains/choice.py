"""From the name of a stain normalisation to the function that normalises tiles."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.prepare.stains.macenko import Macenko
from hpsearch.datasets.prepare.stains.vahadane import Vahadane
from hpsearch.errors import SpecError

NormaliserName = Literal["none", "macenko", "vahadane"]
NORMALISERS: tuple[NormaliserName, ...] = get_args(NormaliserName)

Tiles = NDArray[np.uint8]
Normalise = Callable[[Tiles], Tiles]
"""Tiles `(N, H, W, 3)` to new tiles of the same shape; can be sent to another process."""


def normaliser(name: NormaliserName, target: Tiles | None, *, device: str = "cpu") -> Normalise:
    """The normalisation of tiles to the stains of `target`.

    A tile's result does not depend on the others that it is given with. Tiles with hardly any
    tissue, and tiles of one colour, have no stains to find and are left as they are.

    Args:
        name: one of `NORMALISERS`; "none" leaves every tile as it is and needs no target.
        target: the tile `(H, W, 3)` whose stains all others shall have.
        device: where to compute, "cpu" or "cuda".

    Raises:
        SpecError: the name is unknown, the target is missing, or torchstain is not installed.
        DataError: the target shows too little tissue.
    """
    if name not in NORMALISERS:
        raise SpecError(f"stains {name!r:.60}: unknown; give one of {', '.join(NORMALISERS)}")
    if name == "none":
        return _unchanged
    if target is None:
        raise SpecError(f"stains {name}: needs a target tile; name one, or take stains none")
    return Macenko(target, device) if name == "macenko" else Vahadane(target, device)


def _unchanged(tiles: Tiles) -> Tiles:
    return tiles
