"""Reading one image file that may be damaged or hostile: 8-bit pixels as a viewer shows them."""

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

from hpsearch.datasets.bad_file import bad_file, reason, undecoded
from hpsearch.datasets.dicom import dicom_mode, is_dicom, read_dicom
from hpsearch.datasets.pillow_formats import (
    FORMATS,
    MAX_PIXELS,
    MIN_SIDE,
    check_header,
    target_mode,
    too_large,
)
from hpsearch.datasets.shown import Shown, as_shown, with_facts
from hpsearch.datasets.window import Window
from hpsearch.errors import DataError


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
