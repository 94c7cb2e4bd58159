"""Reading one image file that may be damaged or hostile: 8-bit pixels as a viewer shows them.

As a viewer shows it means upright, opaque, through a window. Which file is DICOM is told by how it
begins; what is read of DICOM is the matter of `hpsearch.datasets.dicom`.
"""

import io
import re
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from hpsearch.datasets.dicom import dicom_mode, read_dicom
from hpsearch.datasets.window import Window, no_own_window, windowed
from hpsearch.errors import DataError
from hpsearch.io.files import bad_file, reason, undecoded

# What cameras, scanners and microscopes write; JPEG stands for MPO too. Of the rest that Pillow
# knows, EPS and WMF call other programs, FITS has had bombs in gzip, TGA has no mark to know it by,
# and AVIF of more than 8 bits is cut down to 8 without a word.
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")
MIN_SIDE = 8  # pixels
MAX_PIXELS = 100_000_000  # as RGB 300 MB of memory
BACKGROUND = 255  # white: what shows through where an image is transparent

_GREY_MODES = ("1", "L", "LA", "La")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_DEEP_GREY_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC, _TIFF_WHITE_IS_ZERO = 262, 0
_JPEG2000_SIZE = b"\xff\x4f\xff\x51"  # its codestream begins with the sizes
_DICOM_MARK_AT, _DICOM_MARK = 128, b"DICM"
# Without preamble a file begins with an element of group 2 or 8, its value's kind or length.
_FIRST_DICOM_ELEMENT = re.compile(
    rb"(?:[\x02\x08]\x00.\x00|\x00[\x02\x08]\x00.)(?:[A-Z]{2}|..\x00\x00)", re.DOTALL
)
_UPRIGHT = {  # by the orientation that EXIF names
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Scanners embed colour profiles of more than Pillow's 1 MB a chunk; what it allows a file stays.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


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
    """Images that were not taken as they are stored, for the user to know.

    Attributes:
        turned: by their EXIF orientation.
        transparent: in part, and laid on white.
        many_frames: of whose frames the first is shown.
    """

    turned: int = 0
    transparent: int = 0
    many_frames: int = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """A line each of what there was."""
        notes = (
            (self.turned, "turned upright by the EXIF orientation"),
            (self.transparent, "transparent in part, laid on white"),
            (self.many_frames, "with further frames, of which only the first is read"),
        )
        return tuple(f"{n:,} image{'s' * (n > 1)} {what}" for n, what in notes if n)


def count_shown(facts: Iterable[Shown]) -> ShownCounts:
    """What was done to how many."""
    all_facts = list(facts)
    return ShownCounts(
        turned=sum(shown.turned for shown in all_facts),
        transparent=sum(shown.transparent for shown in all_facts),
        many_frames=sum(shown.frames > 1 for shown in all_facts),
    )


def read_image(
    path: Path, *, window: Window | None = None, content: bytes | None = None
) -> Image.Image:
    """Decode the first frame of the file at `path` in mode "L" or "RGB", as a viewer shows it.

    One of `IMAGE_FORMATS` or DICOM, whatever its name. An EXIF orientation is applied, and what is
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
            return _with_facts(Image.fromarray(pixels), Shown(frames=frames))
    with _opened(path, content) as image:
        return _as_shown(path, image, window)


def read_mask(path: Path) -> Image.Image:
    """The mask at `path` in mode "L"; what is transparent is not marked.

    Raises:
        DataError: as `read_image`.
    """
    check_regular_file(path)
    with _opened(path) as image:
        return _as_shown(path, image, None, background=0).convert("L")


def show_image(image: Image.Image, *, window: Window | None = None) -> Image.Image:
    """A Pillow image that the user opened, shown as `read_image` shows a file.

    Raises:
        DataError: as `read_image`; its name is that of its file, else "image".
    """
    name = getattr(image, "filename", "")
    path = Path(name or "image")
    with _decoding(path):
        try:
            # Else Pillow maps the file, and a TIFF that it then turns by 90 degrees is scrambled:
            # so in Pillow 13, where the TIFF is not compressed.
            if name:
                image.filename = ""  # type: ignore[attr-defined]
            _check_header(path, image)
            return _as_shown(path, image, window)
        finally:
            if name:
                image.filename = name  # type: ignore[attr-defined]


def read_mode(path: Path) -> Literal["L", "RGB"]:
    """The mode that `read_image` will give, from the file's header alone.

    Raises:
        DataError: as `read_image`, as far as the header shows it.
    """
    check_regular_file(path)
    if is_dicom(path):
        return dicom_mode(path)
    with _opened(path) as image:
        return _target_mode(image)


def read_size(path: Path) -> tuple[int, int]:
    """Width and height of an image that is no DICOM, from the file's header alone.

    Raises:
        DataError: as `read_image`, as far as the header shows it.
    """
    check_regular_file(path)
    with _opened(path) as image:
        return image.size


def is_image(path: Path) -> bool:
    """Whether the file at `path` begins as one of `IMAGE_FORMATS` or DICOM, whatever its name."""
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


def is_dicom(path: Path) -> bool:
    """Whether the file at `path` says that it is DICOM, or begins as DICOM without preamble."""
    try:
        with path.open("rb") as file:
            start = file.read(_DICOM_MARK_AT + len(_DICOM_MARK))
    except OSError:
        return False
    return start[_DICOM_MARK_AT:] == _DICOM_MARK or _FIRST_DICOM_ELEMENT.match(start) is not None


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    # By an open file, which Pillow does not map: see `show_image`.
    with _decoding(path), path.open("rb") if content is None else io.BytesIO(content) as source:
        try:
            image = Image.open(source, formats=IMAGE_FORMATS)
        except UnidentifiedImageError as error:
            if (path.stat().st_size if content is None else len(content)) == 0:
                raise bad_file(path, "is empty (0 bytes)", "replace or remove it") from error
            kinds = ", ".join((*IMAGE_FORMATS, "DICOM"))
            what = f"is not a readable image ({kinds})"
            raise bad_file(path, what, "convert or remove it") from error
        _check_header(path, image)
        yield image


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
            raise _too_large(path) from error
        except Exception as error:  # a decoder may raise anything
            raise undecoded(path, "image", error) from error


def _check_header(path: Path, image: Image.Image) -> None:
    """Refuse what is too large, too small, or too deep to be shown.

    Raises:
        DataError: it is.
    """
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


def _target_mode(image: Image.Image) -> Literal["L", "RGB"]:
    """The mode in which an image is shown."""
    return "L" if image.mode in _GREY_MODES + _DEEP_GREY_MODES else "RGB"


def _stored_scale(image: Image.Image) -> tuple[float, int]:
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


def _too_large(path: Path) -> DataError:
    what = f"has more than {MAX_PIXELS // 1_000_000} million pixels"
    return bad_file(path, what, "cut it into tiles or shrink it")


def _as_shown(
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
    stored, (factor, offset) = _orientation(image), _stored_scale(image)
    image.load()
    transpose = _UPRIGHT.get(_orientation(image))
    mode = _target_mode(image)
    transparent = False
    if image.mode in _DEEP_GREY_MODES:
        values = np.asarray(image)
        if (factor, offset) != (1, 0):
            values = np.rint(values / factor).astype(np.int32) - offset
        if window == "dicom":
            raise no_own_window(path, values, "is no DICOM file and has no window of its own")
        grey = windowed(path, values, window)
        # That the lowest values of a TIFF stand for white Pillow sees to for 8 bits alone.
        if (
            image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO  # type: ignore[attr-defined]
        ):
            grey = 255 - grey
        hidden = values == image.info.get("transparency", np.nan)  # a PNG's one transparent value
        grey[hidden] = background
        visible, transparent = Image.fromarray(grey), bool(hidden.any())
    elif image.has_transparency_data:
        layers = image.convert("LA") if image.mode == "La" else image
        layers = layers.convert("RGBA")
        transparent = bool(np.asarray(layers.getchannel("A")).min() < 255)
        ground = Image.new("RGBA", image.size, (background, background, background, 255))
        visible = Image.alpha_composite(ground, layers).convert(mode)
    else:
        visible = image.convert(mode)
    upright = visible if transpose is None else visible.transpose(transpose)
    frames = 1
    with suppress(Exception):  # damaged frames after the first are all the same to it
        frames = int(getattr(image, "n_frames", 1))
    return _with_facts(upright, Shown(stored in _UPRIGHT, transparent, frames))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # viewers show an image with damaged EXIF as it is stored
        return 1


def _with_facts(image: Image.Image, shown: Shown) -> Image.Image:
    """The same image with nothing in `info` but what was done to show it."""
    image.info = {"shown": shown}
    return image
