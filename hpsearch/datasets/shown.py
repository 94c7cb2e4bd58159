"""A Pillow image as a viewer shows it: upright, opaque, through a window, in 8 bits."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from hpsearch.datasets.pillow_formats import (
    DEEP_GREY_MODES,
    low_is_white,
    stored_scale,
    target_mode,
)
from hpsearch.datasets.window import Window, no_own_window, windowed

BACKGROUND = 255  # white: what shows through where an image is transparent

_UPRIGHT = {  # by the orientation that EXIF names
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Shown:
    """What was done to show an image, as `read_image` tells in `image.info["shown"]`.

    Attributes:
        turned: by its EXIF orientation.
        transparent: in part, and laid on white.
        frames: of the file, of which the first is shown.
    """

    turned: bool = False
    transparent: bool = False
    frames: int = 1


@dataclass(frozen=True)
class ShownCounts:
    """Images that were not taken as they are stored, for the user to know."""

    turned: int = 0
    transparent: int = 0
    many_frames: int = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """A line each of what there was."""
        told = (
            (self.turned, "turned upright by the EXIF orientation"),
            (self.transparent, "transparent in part, laid on white"),
            (self.many_frames, "with further frames, of which only the first is read"),
        )
        return tuple(f"{count:,} image{'s' * (count > 1)} {what}" for count, what in told if count)


def count_shown(facts: Iterable[Shown]) -> ShownCounts:
    """What was done to how many."""
    all_facts = list(facts)
    return ShownCounts(
        turned=sum(shown.turned for shown in all_facts),
        transparent=sum(shown.transparent for shown in all_facts),
        many_frames=sum(shown.frames > 1 for shown in all_facts),
    )


def as_shown(
    path: Path, image: Image.Image, window: Window | None, background: int = BACKGROUND
) -> Image.Image:
    """The image in mode "L" or "RGB" with its `Shown`; `path` names it in errors.

    Args:
        path: of its file.
        image: whose header has been checked.
        window: of more than 8 bits.
        background: grey level that shows through where it is transparent.

    Raises:
        DataError: it lacks a window.
    """
    # Before it is loaded: then Pillow turns a TIFF, and forgets how values were stored.
    stored, scale = _orientation(image), stored_scale(image)
    image.load()
    transpose = _UPRIGHT.get(_orientation(image))
    if image.mode in DEEP_GREY_MODES:
        values = np.asarray(image)
        if scale != (1, 0):
            values = np.rint(values / scale[0]).astype(np.int32) - scale[1]
        visible, transparent = _windowed(path, image, values, window, background)
    else:
        visible, transparent = _opaque(image, background)
    upright = visible if transpose is None else visible.transpose(transpose)
    return with_facts(upright, Shown(stored in _UPRIGHT, transparent, _frames(image)))


def with_facts(image: Image.Image, shown: Shown) -> Image.Image:
    """The same image with nothing in `info` but what was done to show it."""
    image.info = {"shown": shown}
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # viewers show an image with damaged EXIF as it is stored
        return 1


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # frames after the first are damaged, which is all the same to it
        return 1


def _opaque(image: Image.Image, background: int) -> tuple[Image.Image, bool]:
    """The image in mode "L" or "RGB" laid on the background, and whether any of that shows."""
    mode = target_mode(image)
    if not image.has_transparency_data:
        return image.convert(mode), False
    layers = image.convert("LA") if image.mode == "La" else image
    layers = layers.convert("RGBA")
    transparent = np.asarray(layers.getchannel("A")).min() < 255
    ground = Image.new("RGBA", image.size, (background, background, background, 255))
    return Image.alpha_composite(ground, layers).convert(mode), bool(transparent)


def _windowed(
    path: Path, image: Image.Image, values: NDArray[Any], window: Window | None, background: int
) -> tuple[Image.Image, bool]:
    """The same of an image of more than 8 bits that stores `values`."""
    if window == "dicom":
        raise no_own_window(path, values, "is no DICOM file and has no window of its own")
    grey = windowed(path, values, window)
    if low_is_white(image):
        grey = 255 - grey
    hidden = values == image.info.get("transparency", np.nan)  # a PNG's one transparent value
    grey[hidden] = background
    return Image.fromarray(grey), bool(hidden.any())
