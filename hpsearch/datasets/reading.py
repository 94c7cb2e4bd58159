"""Reading one image file that may be damaged or hostile: 8-bit pixels as a viewer shows them.

A Pillow image as a viewer shows it: upright, opaque, through a window, in 8 bits.
"""

import io
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from hpsearch.datasets.dicom import dicom_mode, is_dicom, read_dicom
from hpsearch.datasets.pillow_formats import (
    DEEP_GREY_MODES,
    FORMATS,
    MAX_PIXELS,
    MIN_SIDE,
    check_header,
    low_is_white,
    stored_scale,
    target_mode,
    too_large,
)
from hpsearch.datasets.window import Window, no_own_window, windowed
from hpsearch.errors import DataError
from hpsearch.io.files import bad_file, reason, undecoded

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


def read_image(
    path: Path, *, window: Window | None = None, content: bytes | None = None
) -> Image.Image:
    """Decode the first frame of the file at `path` in mode "L" or "RGB", as a viewer shows it.

    One of `FORMATS` or DICOM, whatever its name. An EXIF orientation is applied, and what is
    transparent is laid on white. Palettes, CMYK and the like become RGB. A grey image of more than
    8 bits needs a `window`. `info["shown"]` of the image is a `Shown`.

    Args:
        path: of the file.
        window: which values become black and white; images of 8 bits do without.
        content: of the file where it lies in an archive; `path` then only names it in errors.

    Raises:
        DataError: the file is not such an image or is damaged, or lacks a window; one line.
    """
    if content is None:
        check_regular_file(path)
        if is_dicom(path):
            pixels, frames = read_dicom(path, window, min_side=MIN_SIDE, max_pixels=MAX_PIXELS)
            return with_facts(Image.fromarray(pixels), Shown(frames=frames))
    with _opened(path, content) as image:
        return as_shown(path, image, window)


def read_mask(path: Path) -> Image.Image:
    """The mask at `path` in mode "L"; what is transparent is not marked.

    Raises:
        DataError: as `read_image`.
    """
    check_regular_file(path)
    with _opened(path) as image:
        return as_shown(path, image, None, background=0).convert("L")


def show_image(image: Image.Image, *, window: Window | None = None) -> Image.Image:
    """A Pillow image that the user opened, shown as `read_image` shows a file.

    Raises:
        DataError: as `read_image`; its name is that of its file, else "image".
    """
    path = Path(getattr(image, "filename", "") or "image")
    with _decoding(path), _not_mapped(image):
        check_header(path, image)
        return as_shown(path, image, window)


def read_mode(path: Path) -> Literal["L", "RGB"]:
    """The mode that `read_image` will give, from the file's header alone.

    Raises:
        DataError: as `read_image`, as far as the header shows it.
    """
    check_regular_file(path)
    if is_dicom(path):
        return dicom_mode(path)
    with _opened(path) as image:
        return target_mode(image)


def is_image(path: Path) -> bool:
    """Whether the file at `path` begins as an image of `FORMATS` or as DICOM, whatever its name."""
    if not path.is_file():  # opening a FIFO would hang
        return False
    if is_dicom(path):
        return True
    try:
        with _opened(path):
            return True
    except DataError as error:
        return isinstance(error.__cause__, Image.DecompressionBombError)


def image_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """The image of an array `(H, W, 1 or 3)`, mode "L" or "RGB"."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def check_regular_file(path: Path) -> None:
    """Refuse what cannot be read from start to end, before opening it: opening a FIFO would hang.

    Raises:
        DataError: `path` is missing, or is a directory, a device, a FIFO or a socket.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise bad_file(
            path, f"cannot be opened ({reason(error)})", "mend its path or permissions"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise bad_file(path, "is a directory, not a file", "rename or remove it")
    if not stat.S_ISREG(status.st_mode):
        raise bad_file(path, "is not a regular file", "put the file itself there")


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    # By an open file, which Pillow does not map: see `_not_mapped`.
    with _decoding(path), path.open("rb") if content is None else io.BytesIO(content) as source:
        try:
            image = Image.open(source, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise _unidentified(path, content) from error
        check_header(path, image)
        yield image


@contextmanager
def _not_mapped(image: Image.Image) -> Iterator[None]:
    """Keep Pillow from mapping the file: a TIFF that it then turns by 90 degrees is scrambled.

    So in Pillow 13, where the TIFF is not compressed.
    """
    name = getattr(image, "filename", None)
    if not name:
        yield
        return
    image.filename = ""  # type: ignore[attr-defined]
    try:
        yield
    finally:
        image.filename = name  # type: ignore[attr-defined]


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    with warnings.catch_warnings():
        # What Pillow warns of is either refused below or harmless (odd metadata).
        warnings.simplefilter("ignore")
        try:
            yield
        except DataError:
            raise
        except Image.DecompressionBombError as error:
            raise too_large(path) from error
        except Exception as error:  # a decoder may raise anything
            raise undecoded(path, "image", error) from error


def _unidentified(path: Path, content: bytes | None) -> DataError:
    if (path.stat().st_size if content is None else len(content)) == 0:
        return bad_file(path, "is empty (0 bytes)", "replace or remove it")
    kinds = ", ".join((*FORMATS, "DICOM"))
    return bad_file(path, f"is not a readable image ({kinds})", "convert or remove it")
