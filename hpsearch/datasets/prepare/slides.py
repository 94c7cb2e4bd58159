"""Whole-slide images: their size, their magnification, a thumbnail and single tiles."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpsearch.datasets.reading import check_regular_file
from hpsearch.errors import DataError, UserError
from hpsearch.io.text import printable

if TYPE_CHECKING:
    from openslide import OpenSlide

UNSAID = 40.0  # magnification of a slide that says none: that of the challenge's slides

_MICRONS_AT_X1 = 10.0  # a pixel of 0.25 um is x40
_COARSEST_MICRONS = 20.0  # beyond it a resolution is that of a screen or a printer
_ROUNDED_SIZES = 0.05  # relative: by this much small levels are off a power of two
_BLOCK = 2048  # px: side of what is read at once for a thumbnail


class Slide:
    """An open slide.

    Attributes:
        size: (width, height) of level 0 in px.
        magnification: of level 0, None where the file does not say it.
    """

    def __init__(self, handle: "OpenSlide", path: Path, errors: tuple[type[Exception], ...]):
        self.path = path
        self.size = handle.dimensions
        self.magnification = magnification_of(handle.properties)
        self._handle = handle
        self._errors = errors

    def tile(self, x: int, y: int, side: int, reduction: int = 1) -> NDArray[np.uint8]:
        """Pixels (side, side, 3), the upper left one at (x, y) of level 0.

        A pixel is the mean of `reduction` x `reduction` px of level 0.

        Raises:
            DataError: the file is damaged there.
        """
        region = self._region((x, y), 0, (side * reduction,) * 2)
        return np.asarray(region.reduce(reduction) if reduction > 1 else region)

    def thumbnail(self, scale: int) -> NDArray[np.uint8]:
        """The slide (H // scale, W // scale, 3); a pixel is the mean of `scale` x `scale` px.

        Read from the smallest level of the pyramid that is large enough, block by block, so that a
        slide without a pyramid takes time and no memory.

        Raises:
            DataError: the file is damaged, or the slide is smaller than one such pixel.
        """
        columns, rows = (length // scale for length in self.size)
        if not columns or not rows:
            what = f"is {self.size[0]}x{self.size[1]} px, too small for a tile"
            raise DataError(f"{printable(self.path)}: {what}; remove it")
        said = self._handle.level_downsamples
        # Levels are made with powers of two. openslide says the ratio of the rounded sizes, by
        # which the far end of a level would be out of place.
        powers = [2.0 ** round(math.log2(value)) for value in said]
        exact = [
            power if abs(value / power - 1) < _ROUNDED_SIZES else value
            for value, power in zip(said, powers, strict=True)
        ]
        level = max(i for i, value in enumerate(exact) if value <= scale)
        shrink = scale / exact[level]
        stretch = said[level] / exact[level]  # openslide divides what it is asked for by `said`
        step = max(1, int(_BLOCK / shrink))
        whole = np.empty((rows, columns, 3), np.uint8)
        for top in range(0, rows, step):
            for left in range(0, columns, step):
                block = whole[top : top + step, left : left + step]
                size = (round(block.shape[1] * shrink), round(block.shape[0] * shrink))
                at = (round(left * scale * stretch), round(top * scale * stretch))
                region = self._region(at, level, size)
                shrunk = region.resize((block.shape[1], block.shape[0]), Image.Resampling.BOX)
                block[...] = np.asarray(shrunk)
        return whole

    def _region(self, at: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        """RGB pixels; what was not scanned is white."""
        try:
            region = self._handle.read_region(at, level, size)
        except self._errors as error:
            what = f"is damaged at {at[0]}, {at[1]} ({printable(error)})"
            raise DataError(f"{printable(self.path)}: {what}; download it again") from error
        flat = Image.new("RGB", size, "white")
        flat.paste(region, mask=region.getchannel("A"))
        return flat


@contextmanager
def open_slide(path: Path) -> Iterator[Slide]:
    """Open the slide at `path` for as long as the block lasts.

    Raises:
        DataError: it is missing, damaged, or not a slide.
        UserError: openslide is not installed.
    """
    check_regular_file(path)
    try:
        import openslide
    except (ImportError, OSError) as error:  # OSError: its C library is missing
        raise UserError(
            "slides are read with openslide, which is not installed; pip install 'hpsearch[wsi]'"
        ) from error
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        what = f"is damaged or not a tiled slide ({printable(error)})"
        raise DataError(f"{printable(path)}: {what}; download it again or remove it") from error
    with handle:
        yield Slide(handle, path, (openslide.OpenSlideError,))


def reduction_to(slide: Slide, magnification: int) -> int:
    """How many px of level 0, along a side, make one of a tile at about `magnification`.

    A power of two, so that a slide is read at its own scale or at a whole part of it: 1 for x40 of
    a slide of x40 and for x20 of one of x20, 2 for x20 of one of x40. Slides that say none are
    taken as `UNSAID`.

    Raises:
        DataError: the slide is coarser than `magnification`.
    """
    of_slide = slide.magnification or UNSAID
    halvings = round(math.log2(of_slide / magnification))
    if halvings < 0:
        what = f"its metadata say x{of_slide:.3g}, not x{magnification}"
        remedy = f"remove it, or give a --magnification of at most {of_slide:.3g}"
        raise DataError(f"{printable(slide.path)}: {what}; {remedy}")
    return int(2**halvings)


def magnification_of(properties: Mapping[str, str]) -> float | None:
    """Magnification by the pixel's size in microns, else by the objective, else None.

    The size comes first: slides of the challenge that were scanned with a x20 objective have pixels
    of 0.24 um, which is what others call x40.
    """
    microns = _number(properties.get("openslide.mpp-x"))
    if microns is not None and microns < _COARSEST_MICRONS:
        return _MICRONS_AT_X1 / microns
    return _number(properties.get("openslide.objective-power"))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
