"""DICOM images, one frame each, as a viewer would show them through a given window."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.window import Window, no_own_window, windowed
from hpsearch.errors import DataError
from hpsearch.io.files import bad_file, reason, undecoded

_GREY = ("MONOCHROME1", "MONOCHROME2")  # low values are white; low values are black
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # pydicom makes them RGB

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LARGE = 2**16  # bytes; larger elements are left in the file until they are asked for


def read_dicom(
    path: Path, window: Window | None, *, min_side: int, max_pixels: int
) -> tuple[NDArray[np.uint8], int]:
    """The first frame, grey `(H, W)` or colours `(H, W, 3)`, and the number of frames.

    Grey is that of the stored values after rescale slope and intercept (PS3.3 C.11.1) through the
    window; MONOCHROME1 is inverted after that. Images of 8 bits without a window, theirs or a
    given one, are taken as they are.

    Args:
        path: of a DICOM file with an image, grey or of 8 bits a colour.
        window: "dicom" for the file's own, the first where it has several.
        min_side: the least side, in pixels.
        max_pixels: the largest area, looked at before anything is decoded.

    Raises:
        DataError: the file is not such an image, cannot be decoded, or lacks a window.
    """
    with _reading(path):
        header = _header(path)
        _check_image(path, header, min_side, max_pixels)
        frames = int(_value(header, "NumberOfFrames") or 1)
        stored = _first_frame(path, header)
        if header.PhotometricInterpretation in _COLOUR:
            return stored.astype(np.uint8), frames
        grey = _grey(path, header, stored, window)
        inverted = header.PhotometricInterpretation == "MONOCHROME1"
        return 255 - grey if inverted else grey, frames


def dicom_mode(path: Path) -> Literal["L", "RGB"]:
    """The mode of the image that `read_dicom` gives, by the header alone.

    Raises:
        DataError: the header cannot be read.
    """
    with _reading(path):
        colour = _header(path).get("PhotometricInterpretation") in _COLOUR
    return "RGB" if colour else "L"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    with warnings.catch_warnings():
        # What pydicom warns of is either refused here or harmless (odd metadata).
        warnings.simplefilter("ignore")
        try:
            yield
        except DataError:
            raise
        except ModuleNotFoundError as error:
            if error.name != "pydicom":
                raise
            remedy = "pip install 'hpsearch[medical]', or convert it"
            raise bad_file(path, "is a DICOM file, which needs pydicom", remedy) from error
        except Exception as error:  # a parser may raise anything
            raise undecoded(path, "DICOM file", error) from error


def _header(path: Path) -> Any:
    """All elements; the large ones stay in the file."""
    import pydicom  # of the extra [medical], which most users do without
    from pydicom import uid

    with path.open("rb") as file:
        if _DEFLATED in file.read(1024):  # would unpack to any size before it can be looked at
            raise bad_file(path, "is deflated DICOM", "save it without that compression")
    header = pydicom.dcmread(path, defer_size=_LARGE, force=True)
    if "TransferSyntaxUID" not in header.file_meta:  # lost with the preamble
        is_implicit, is_little = header.original_encoding
        explicit = uid.ExplicitVRLittleEndian if is_little else uid.ExplicitVRBigEndian
        header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else explicit
    for name, neutral in (("RescaleSlope", 1), ("RescaleIntercept", 0)):
        if name in header and _value(header, name) is None:
            setattr(header, name, neutral)
    return header


def _value(header: Any, name: str) -> Any:
    """An element's value; None where it is missing or empty."""
    value = header.get(name)
    return None if value is None or value == "" or value == [] else value


def _first_frame(path: Path, header: Any) -> NDArray[Any]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_compressed:
        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:  # not an encoding of images
            available = False
        if not available:
            what = f"is compressed as {syntax.name}, for which no decoder is installed"
            raise bad_file(path, what, f"{_install(syntax)}, or save it uncompressed")
    try:
        return pixel_array(header, index=0)
    except RuntimeError as error:  # all decoders that are installed gave up
        said = str(error).rpartition("plugins:")[2].strip()
        what = f"holds {syntax.name} that no installed decoder can read ({reason(Exception(said))})"
        raise bad_file(path, what, f"{_install(syntax)}, or save it uncompressed") from error


def _install(syntax: Any) -> str:
    from pydicom.uid import JPEG2000TransferSyntaxes

    package = "openjpeg" if syntax in JPEG2000TransferSyntaxes else "libjpeg"
    return f"pip install pylibjpeg pylibjpeg-{package}"


def _check_image(path: Path, header: Any, min_side: int, max_pixels: int) -> None:
    kind = _value(header, "PhotometricInterpretation")
    if _value(header, "Rows") is None or kind is None:
        raise bad_file(path, "is DICOM without an image", "remove it")
    if kind not in _GREY + _COLOUR:
        raise bad_file(path, f"is colour DICOM ({kind})", "convert it to PNG")
    if kind in _COLOUR and header.BitsAllocated != 8:
        what = f"is colour DICOM of {header.BitsAllocated} bits a channel"
        raise bad_file(path, what, "convert it to 8 bits")
    height, width = int(header.Rows), int(header.Columns)
    if min(height, width) < min_side:
        what = f"is {width}x{height} px, below {min_side}x{min_side}"
        raise bad_file(path, what, "remove it")
    if height * width > max_pixels:
        what = f"has more than {max_pixels // 1_000_000} million pixels"
        raise bad_file(path, what, "cut it into tiles or shrink it")


def _grey(
    path: Path, header: Any, stored: NDArray[Any], window: Window | None
) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_modality_lut

    bits = int(header.BitsStored)
    is_shallow = bits <= 8 and not header.PixelRepresentation
    has_own = None not in (_value(header, "WindowCenter"), _value(header, "WindowWidth"))
    if is_shallow and (window is None or (window == "dicom" and not has_own)):
        # As an 8-bit PNG; fewer bits are spread over the grey levels, as in a PNG too.
        return windowed(path, stored, (0, 2**bits - 1))
    values = apply_modality_lut(stored, header)
    if window == "dicom":
        if not has_own:
            raise no_own_window(path, values, "names no window of its own")
        return windowed(path, values, _own_window(path, header, values))
    return windowed(path, values, window)


def _own_window(path: Path, header: Any, values: NDArray[Any]) -> tuple[float, float]:
    """The ends of the first window of the file (PS3.3 C.11.2.1.2).

    Not by pydicom's `apply_windowing`, whose output spans the range of the stored bits: brought to
    256 grey levels, every 14th window has values halfway between two that are rounded otherwise.
    """
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    centre, width = (
        float(element.value[0] if element.VM > 1 else element.value)
        for element in (header["WindowCenter"], header["WindowWidth"])
    )
    if function == "LINEAR":  # whole values, of which the ends belong to the window
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise no_own_window(path, values, f"has a window of the kind {function}")
    if not width > 0:
        raise no_own_window(path, values, "has an empty window")
    return centre - width / 2, centre + width / 2
