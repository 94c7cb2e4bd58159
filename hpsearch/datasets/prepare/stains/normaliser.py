"""From the name of a stain normalisation to the function that normalises tiles."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hpsearch.errors import SpecError
from hpsearch.io.text import printable

StainName = Literal["vahadane", "macenko", "none"]
STAINS: tuple[StainName, ...] = get_args(StainName)

Tiles = NDArray[np.uint8]
Normalise = Callable[[Tiles], Tiles]
"""Tiles `(N, H, W, 3)` to new tiles of the same shape; can be sent to another process."""


def parse_stain(text: str) -> StainName:
    """The normalisation of that name.

    Raises:
        SpecError: there is none.
    """
    for stain in STAINS:
        if stain == text:
            return stain
    raise SpecError(f"stain '{printable(text)[:50]}': unknown; give {', '.join(STAINS)}")


def normaliser(name: StainName, target: Tiles | None, *, device: str = "cpu") -> Normalise:
    """The normalisation of tiles to the stains of `target`.

    A tile's result does not depend on the others that it is given with. Tiles with hardly any
    tissue, and tiles of one colour, have no stains to find and are left as they are.

    Args:
        name: one of `STAINS`; "none" leaves every tile as it is and needs no target.
        target: the tile `(H, W, 3)` whose stains all others shall have.
        device: where to compute, "cpu" or "cuda".

    Raises:
        SpecError: the target is missing, the device is not there, or torchstain is not installed.
        DataError: the target shows too little tissue.
    """
    if name == "none":
        return _unchanged
    if target is None:
        raise SpecError(f"stains {name}: needs a target tile; name one, or take stains none")
    # Here, for torch takes seconds and memory, which stain none should not.
    from hpsearch.datasets.prepare.stains.macenko import Macenko
    from hpsearch.datasets.prepare.stains.vahadane import Vahadane

    try:
        return Macenko(target, device) if name == "macenko" else Vahadane(target, device)
    except (RuntimeError, AssertionError) as error:  # torch has no one error for a bad device
        what = f"cannot be used ({printable(error).splitlines()[0][:100]})"
        raise SpecError(f"device '{printable(device)[:50]}' {what}; give cpu") from error


def _unchanged(tiles: Tiles) -> Tiles:
    return tiles
