"""Reading one image file that may be damaged or hostile: 8-bit pixels, or one line why not."""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from hpsearch.datasets.bad_file import bad_file, reason
from hpsearch.datasets.dicom import is_dicom, read_dicom
from hpsearch.datasets.window import Window, no_own_window, windowed
from hpsearch.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
MIN_SIDE = 8  # pixels
MAX_PIXELS = 100_000_000  # as RGB 300 MB of memory

_GREY_MODES = ("1", "L", "LA", "La")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB")
_DEEP_GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC, _TIFF_WHITE_IS_ZERO = 262, 0


def read_image(
    path: Path, *, window: Window | None = None, content: bytes | None = None
) -> Image.Image:
    """Decode the first frame of the file at `path` in mode "L" or "RGB".

    PNG, JPEG, BMP and TIFF. Palettes, CMYK and the like become RGB, a transparency channel is
    dropped, and an EXIF orientation is not applied. A grey image of more than 8 bits and a DICOM
    file need a `window`.

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
            grey = read_dicom(path, window, min_side=MIN_SIDE, max_pixels=MAX_PIXELS)
            return Image.fromarray(grey)
    with _opened(path, content) as image:
        if image.mode not in _DEEP_GREY_MODES:
            return image.convert(_target_mode(image))
        values = np.asarray(image)
        if window == "dicom":
            raise no_own_window(path, values, "is no DICOM file and has no window of its own")
        grey = windowed(path, values, window)
        return Image.fromarray(255 - grey if _low_is_white(image) else grey)


def read_mode(path: Path) -> Literal["L", "RGB"]:
    """The mode that `read_image` will give, from the file's header alone.

    Raises:
        DataError: as `read_image`, as far as the header shows it.
    """
    check_regular_file(path)
    if is_dicom(path):
        return "L"
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
        raise bad_file(
            path, f"cannot be opened ({reason(error)})", "mend its path or permissions"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise bad_file(path, "is a directory, not a file", "rename or remove it")
    if not stat.S_ISREG(status.st_mode):
        raise bad_file(path, "is not a regular file", "put the file itself there")


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    with warnings.catch_warnings():
        # What Pillow warns of is either refused below or harmless (odd metadata).
        warnings.simplefilter("ignore")
        try:
            source = path if content is None else io.BytesIO(content)
            with Image.open(source, formats=FORMATS) as image:
                _check_header(path, image)
                yield image
        except DataError:
            raise
        except UnidentifiedImageError as error:
            raise _unidentified(path, content) from error
        except Image.DecompressionBombError as error:
            raise _too_large(path) from error
        except Exception as error:
            # A decoder may raise anything on a damaged file; whatever it is, the file is at fault.
            raise bad_file(path, f"is damaged ({reason(error)})", "replace or remove it") from error


def _check_header(path: Path, image: ImageFile.ImageFile) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(path)
    if min(width, height) < MIN_SIDE:
        what = f"is {width}x{height} px, below {MIN_SIDE}x{MIN_SIDE}"
        raise bad_file(path, what, "remove it")
    if image.mode in _DEEP_GREY_MODES:
        return
    if image.mode not in _GREY_MODES + _COLOUR_MODES or _has_deep_channels(image):
        what = f"holds more than 8 bits a channel of several (mode {image.mode})"
        raise bad_file(path, what, "convert it to 8 bits or to grey")


def _has_deep_channels(image: ImageFile.ImageFile) -> bool:
    # Pillow reads the high byte of 16-bit colour without a word, and calls the image RGB.
    if image.format == "PNG":
        return any(";16" in str(tile.args) for tile in image.tile)
    if image.format == "TIFF":
        bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, 8)  # type: ignore[attr-defined]
        return any(channel > 8 for channel in (bits if isinstance(bits, tuple) else (bits,)))
    return False


def _low_is_white(image: ImageFile.ImageFile) -> bool:
    # Pillow sees to that for 8 bits alone.
    return (
        image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO  # type: ignore[attr-defined]
    )


def _target_mode(image: Image.Image) -> Literal["L", "RGB"]:
    return "L" if image.mode in _GREY_MODES + _DEEP_GREY_MODES else "RGB"


def _unidentified(path: Path, content: bytes | None) -> DataError:
    if (path.stat().st_size if content is None else len(content)) == 0:
        return bad_file(path, "is empty (0 bytes)", "replace or remove it")
    return bad_file(path, f"is not a readable {', '.join(FORMATS)} image", "convert or remove it")


def _too_large(path: Path) -> DataError:
    what = f"has more than {MAX_PIXELS // 1_000_000} million pixels"
    return bad_file(path, what, "cut it into tiles or shrink it")
