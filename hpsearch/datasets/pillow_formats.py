"""What of Pillow's formats is read, and what their headers say that Pillow does not."""

from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageFile, PngImagePlugin

from hpsearch.errors import DataError
from hpsearch.io.files import bad_file

# What cameras, scanners and microscopes write; JPEG stands for MPO too. Of the rest that Pillow
# knows, EPS and WMF call other programs, FITS has had bombs in gzip, TGA has no mark to know it by,
# and AVIF of more than 8 bits is cut down to 8 without a word.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")
MIN_SIDE = 8  # pixels
MAX_PIXELS = 100_000_000  # as RGB 300 MB of memory

_GREY_MODES = ("1", "L", "LA", "La")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
DEEP_GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC, _TIFF_WHITE_IS_ZERO = 262, 0
_JPEG2000_SIZE = b"\xff\x4f\xff\x51"  # its codestream begins with the sizes

# Scanners embed colour profiles of more than Pillow's 1 MB a chunk; what it allows a file stays.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


def check_header(path: Path, image: Image.Image) -> None:
    """Refuse what is too large, too small, or too deep to be shown.

    Raises:
        DataError: it is.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise too_large(path)
    if min(width, height) < MIN_SIDE:
        what = f"is {width}x{height} px, below {MIN_SIDE}x{MIN_SIDE}"
        raise bad_file(path, what, "remove it")
    if image.mode in DEEP_GREY_MODES:
        return
    if image.mode not in _GREY_MODES + _COLOUR_MODES or _has_deep_channels(image):
        what = f"holds more than 8 bits a channel of several (mode {image.mode})"
        raise bad_file(path, what, "convert it to 8 bits or to grey")


def _has_deep_channels(image: Image.Image) -> bool:
    # Pillow reads the high byte of deep colour without a word, and calls the image RGB.
    if image.format == "PNG":
        return any(";16" in str(argument) for argument in _tile_args(image))
    if image.format == "PPM":
        return any(type(maximum) is int and maximum > 255 for maximum in _tile_args(image))
    if image.format == "JPEG2000" and _tile_args(image):
        return any(depth & 0x7F > 7 for depth in _jpeg2000_depths(image))
    if image.format == "TIFF":
        bits = image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, 8)  # type: ignore[attr-defined]
        return any(channel > 8 for channel in (bits if isinstance(bits, tuple) else (bits,)))
    return False


def low_is_white(image: Image.Image) -> bool:
    """Whether the lowest values of more than 8 bits stand for white."""
    # Pillow sees to that for 8 bits alone.
    return (
        image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO  # type: ignore[attr-defined]
    )


def target_mode(image: Image.Image) -> Literal["L", "RGB"]:
    """The mode in which an image is shown."""
    return "L" if image.mode in _GREY_MODES + DEEP_GREY_MODES else "RGB"


def stored_scale(image: Image.Image) -> tuple[float, int]:
    """By what Pillow multiplies values of more than 8 bits, and after adding what.

    Asked before the image is loaded; afterwards Pillow does not know.
    """
    if image.format == "PPM" and image.mode == "I" and len(_tile_args(image)) == 2:
        return 65_535 / _tile_args(image)[1], 0
    if image.format == "JPEG2000" and image.mode == "I;16":
        (depth,) = _jpeg2000_depths(image)
        bits = (depth & 0x7F) + 1
        return 2 ** (16 - bits), 2 ** (bits - 1) if depth & 0x80 else 0
    return 1, 0


def _tile_args(image: Image.Image) -> tuple[Any, ...]:
    args = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else ()
    return args if isinstance(args, tuple) else (args,)


def _jpeg2000_depths(image: Image.Image) -> bytes:
    """A byte a channel (ISO 15444-1, A.5.1): bits less 1, and the highest bit where signed."""
    file = image.fp  # type: ignore[attr-defined]
    position = file.tell()
    file.seek(0)
    start = file.read(2**16)
    file.seek(position)
    size = start.index(_JPEG2000_SIZE) + len(_JPEG2000_SIZE)
    channels = int.from_bytes(start[size + 36 : size + 38])
    return bytes(start[size + 38 : size + 38 + 3 * channels : 3])


def too_large(path: Path) -> DataError:
    """The error of an image of more than `MAX_PIXELS`."""
    what = f"has more than {MAX_PIXELS // 1_000_000} million pixels"
    return bad_file(path, what, "cut it into tiles or shrink it")
