"""The tile to whose stains all others are normalised: the user's, or one by a fixed rule."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpsearch.errors import DataError
from hpsearch.files import atomic_path
from hpsearch.prepare.challenge import ChallengeSlide
from hpsearch.prepare.settings import TilingSettings
from hpsearch.prepare.slides import open_slide
from hpsearch.prepare.tiling import choose_tiles


def target_digest(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 (hex) of a target tile."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def choose_target(
    slides: Iterable[ChallengeSlide], settings: TilingSettings
) -> tuple[NDArray[np.uint8], str]:
    """The target tile (side, side, 3) by a fixed rule, and the name of its slide.

    Of the first normal training slide, by name, that has tissue, it is the tile of median
    brightness among those that are drawn from it: a usual tile, neither fold nor fat.

    Raises:
        DataError: a slide cannot be read, or none has tissue.
    """
    side = settings.side
    for source in slides:
        if source.split != "train" or not source.is_normal:
            continue
        with open_slide(source.path) as slide:
            chosen = choose_tiles(slide, source, settings)
            corners, reduction = chosen.record.corners, chosen.reduction
            if corners:
                brightness = [slide.tile(x, y, side, reduction).mean() for x, y in corners]
                x, y = corners[int(np.argsort(brightness)[(len(corners) - 1) // 2])]
                return slide.tile(x, y, side, reduction), source.name
    what = f"no {side} px tile of a normal training slide is wholly tissue"
    raise DataError(f"{what}; give another --tile-size, or a tile with --target")


def write_target(pixels: NDArray[np.uint8], to: Path) -> None:
    """Keep the target tile with what is normalised to it."""
    with atomic_path(to) as temporary:
        Image.fromarray(pixels).save(temporary)
