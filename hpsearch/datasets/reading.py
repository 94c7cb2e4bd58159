"""Reading one image file that may be damaged or hostile: 8-bit pixels, or one line why not."""

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from hpsearch.errors import DataError
from hpsearch.files import printable

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
MIN_SIDE = 8  # pixels
MAX_PIXELS = 100_000_000  # as RGB 300 MB of memory

_GREY_MODES = ("1", "L", "LA", "La")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB")
_TIFF_BITS_PER_SAMPLE = 258


def read_image(path: Path) -> Image.Image:
    """Decode the first frame of the file at `path` in mode "L" or "RGB".

    PNG, JPEG, BMP and TIFF of at most 8 bits a channel. Palettes, CMYK and the like become RGB, a
    transparency channel is dropped, and an EXIF orientation is not applied.

    Raises:
        DataError: the file is not such an image or is damaged; one line.
    """
    with _opened(path) as image:
        return image.convert(_target_mode(image))


def read_mode(path: Path) -> Literal["L", "RGB"]:
    """The mode that `read_image` will give, from the file's header alone.

    Raises:
        DataError: as `read_image`, as far as the header shows it.
    """
    with _opened(path) as image:
        return _target_mode(image)


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
        raise _bad(
            path, f"cannot be opened ({_reason(error)})", "mend its path or permissions"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise _bad(path, "is a directory, not a file", "rename or remove it")
    if not stat.S_ISREG(status.st_mode):
        raise _bad(path, "is not a regular file", "put the file itself there")


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    check_regular_file(path)
    with warnings.catch_warnings():
        # What Pillow warns of is either refused below or harmless (odd metadata).
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as image:
                _check_header(path, image)
                yield image
        except DataError:
            raise
        except UnidentifiedImageError as error:
            raise _unidentified(path) from error
        except Image.DecompressionBombError as error:
            raise _too_large(path) from error
        except Exception as error:
            # A decoder may raise anything on a damaged file; whatever it is, the file is at fault.
            raise _bad(path, f"is damaged ({_reason(error)})", "replace or remove it") from error


def _check_header(path: Path, image: ImageFile.ImageFile) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(path)
    if min(width, height) < MIN_SIDE:
        what = f"is {width}x{height} px, below {MIN_SIDE}x{MIN_SIDE}"
        raise _bad(path, what, "remove it")
    if image.mode not in _GREY_MODES + _COLOUR_MODES or _has_deep_channels(image):
        what = f"holds more than 8 bits a channel (mode {image.mode})"
        raise _bad(path, what, "convert it to 8 bits with an intensity window of your choice")


def _has_deep_channels(image: ImageFile.ImageFile) -> bool:
    # Pillow reads the high byte of 16-bit colour without a word, and calls the image RGB.
    if image.format == "PNG":
        return any(";16" in str(tile.args) for tile in image.tile)
    if image.format == "TIFF":
        bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, 8)  # type: ignore[attr-defined]
        return any(channel > 8 for channel in (bits if isinstance(bits, tuple) else (bits,)))
    return False


def _target_mode(image: Image.Image) -> Literal["L", "RGB"]:
    return "L" if image.mode in _GREY_MODES else "RGB"


def _unidentified(path: Path) -> DataError:
    if path.stat().st_size == 0:
        return _bad(path, "is empty (0 bytes)", "replace or remove it")
    return _bad(path, f"is not a readable {', '.join(FORMATS)} image", "convert or remove it")


def _too_large(path: Path) -> DataError:
    what = f"has more than {MAX_PIXELS // 1_000_000} million pixels"
    return _bad(path, what, "cut it into tiles or shrink it")


def _reason(error: Exception) -> str:
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _bad(path: Path, what: str, mend: str) -> DataError:
    return DataError(f"{printable(path)}: {what}; {mend}")
