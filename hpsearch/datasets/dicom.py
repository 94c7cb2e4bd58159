"""DICOM images, one grey frame each, as a viewer would show them through a given window."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.bad_file import bad_file, reason
from hpsearch.datasets.window import Window, no_own_window, windowed
from hpsearch.errors import DataError

GREY = ("MONOCHROME1", "MONOCHROME2")  # low values are white; low values are black

_MAGIC_AT, _MAGIC = 128, b"DICM"
_LARGE = 2**16  # bytes; larger elements are left in the file until they are asked for


def is_dicom(path: Path) -> bool:
    """Whether the file at `path` says that it is DICOM."""
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def read_dicom(
    path: Path, window: Window | None, *, min_side: int, max_pixels: int
) -> NDArray[np.uint8]:
    """Grey levels `(H, W)` of the stored values after rescale slope and intercept (PS3.3 C.11.1).

    The window is applied to the rescaled values; MONOCHROME1 is inverted after that.

    Args:
        path: of a DICOM file with one frame, MONOCHROME1 or MONOCHROME2.
        window: "dicom" for the file's own, the first where it has several.
        min_side: the least side, in pixels.
        max_pixels: the largest area, looked at before anything is decoded.

    Raises:
        DataError: the file is not such an image, cannot be decoded, or there is no window.
    """
    try:
        with warnings.catch_warnings():
            # What pydicom warns of is either refused here or harmless (odd metadata).
            warnings.simplefilter("ignore")
            return _decoded(path, window, min_side, max_pixels)
    except DataError:
        raise
    except ModuleNotFoundError as error:
        if error.name != "pydicom":
            raise
        mend = "pip install 'hpsearch[medical]', or convert it"
        raise bad_file(path, "is a DICOM file, which needs pydicom", mend) from error
    except Exception as error:
        # A parser may raise anything on a damaged file; whatever it is, the file is at fault.
        what = f"is damaged DICOM ({reason(error)})"
        raise bad_file(path, what, "replace or remove it") from error


def _decoded(
    path: Path, window: Window | None, min_side: int, max_pixels: int
) -> NDArray[np.uint8]:
    import pydicom  # of the extra [medical], which most users do without
    from pydicom.pixels.processing import apply_modality_lut

    _check_encoding(path, pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)
    header = pydicom.dcmread(path, defer_size=_LARGE)
    _check_image(path, header, min_side, max_pixels)
    values = apply_modality_lut(header.pixel_array, header)
    limits = _own_window(path, header, values) if window == "dicom" else window
    grey = windowed(path, values, limits)
    return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


def _check_encoding(path: Path, syntax: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    if syntax.is_deflated:  # could unpack to any size
        raise bad_file(path, "is deflated DICOM", "save it without that compression")
    if not syntax.is_compressed:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:  # not an encoding of images
        available = False
    if not available:
        what = f"is compressed as {syntax.name}, for which no decoder is installed"
        raise bad_file(path, what, "install pylibjpeg's, or save it uncompressed")


def _check_image(path: Path, header: Any, min_side: int, max_pixels: int) -> None:
    if "Rows" not in header or "PhotometricInterpretation" not in header:
        raise bad_file(path, "is DICOM without an image", "remove it")
    if int(header.get("NumberOfFrames") or 1) > 1:
        what = f"holds {header.NumberOfFrames} frames"
        raise bad_file(path, what, "save each as a file of its own")
    if header.PhotometricInterpretation not in GREY:
        what = f"is colour DICOM ({header.PhotometricInterpretation})"
        raise bad_file(path, what, "convert it to PNG")
    height, width = int(header.Rows), int(header.Columns)
    if min(height, width) < min_side:
        what = f"is {width}x{height} px, below {min_side}x{min_side}"
        raise bad_file(path, what, "remove it")
    if height * width > max_pixels:
        what = f"has more than {max_pixels // 1_000_000} million pixels"
        raise bad_file(path, what, "cut it into tiles or shrink it")


def _own_window(path: Path, header: Any, values: NDArray[Any]) -> tuple[float, float]:
    """The ends of the first window of the file (PS3.3 C.11.2.1.2)."""
    if "WindowCenter" not in header or "WindowWidth" not in header:
        raise no_own_window(path, values, "names no window of its own")
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    centre, width = (_first(header[name]) for name in ("WindowCenter", "WindowWidth"))
    if function == "LINEAR":  # whole values, of which the ends belong to the window
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise no_own_window(path, values, f"has a window of the kind {function}")
    if not width > 0:
        raise no_own_window(path, values, "has an empty window")
    return centre - width / 2, centre + width / 2


def _first(element: Any) -> float:
    return float(element.value[0] if element.VM > 1 else element.value)
