"""What an audit remembers of an image: about 350 bytes, whatever its size.

Next to a hash of the pixels there is a small grey copy, free of brightness and contrast, and the
signs of its lowest frequencies: 64 bits, nearly all of which a copy that was saved or scaled anew
shares.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from hpsearch.datasets.audit.finding import Finding
from hpsearch.datasets.each_image import BadImage, each_image
from hpsearch.datasets.shown import Shown
from hpsearch.datasets.table import Dataset
from hpsearch.files import printable
from hpsearch.progress import Progress

SIDE = 16  # of the grey copy, in pixels
FLAT = 1.0  # grey levels; where the grey copy's deviation is below it, noise decides how it looks

LOOK = np.dtype(
    [
        ("read", np.bool_),
        ("pixels", "S32"),  # hash
        ("width", np.uint32),
        ("height", np.uint32),
        ("mode", "U3"),
        ("turned", np.bool_),  # by its EXIF orientation
        ("transparent", np.bool_),  # in part, and laid on white
        ("frames", np.uint32),
        ("blank", np.bool_),  # all pixels are the same
        ("flat", np.bool_),
        ("bits", np.uint64),
        ("grey", np.int8, (SIDE * SIDE,)),  # mean 0, one deviation is `_UNIT`
    ]
)
Look = tuple[bool, str, int, int, str, bool, bool, int, bool, bool, int, NDArray[np.int8]]
Looks = NDArray[np.void]

_FREQUENCIES = 8  # along each side
_UNIT = 31.0  # four deviations fit into 8 bits


def look_at_all(
    dataset: Dataset, *, workers: int, progress: Progress
) -> tuple[Looks, list[Finding]]:
    """`LOOK` of every image (N,), in the order of the table, and the images that are unreadable."""
    looks = np.zeros(len(dataset.table), dtype=LOOK)
    bad: list[Finding] = []
    chunks = each_image(
        dataset, look_at, workers=workers, what="checking images", progress=progress
    )
    for position, result in enumerate(result for chunk in chunks for result in chunk):
        if isinstance(result, BadImage):
            subject = printable(dataset.table["image_id"].iloc[position])
            bad.append(Finding("error", "unreadable", subject, result.message))
        else:
            looks[position] = result
    return looks, bad


def look_at(image: Image.Image) -> Look:
    """The fields of `LOOK` of an image of mode "L" or "RGB"."""
    small = image.convert("L").convert("F").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(small, dtype=np.float64)
    grey = grey - grey.mean()
    deviation = float(grey.std())
    flat = deviation < FLAT
    scaled = np.zeros_like(grey) if flat else grey * (_UNIT / deviation)
    levels = np.rint(scaled.clip(-127, 127)).astype(np.int8).ravel()
    blank = image.getcolors(maxcolors=1) is not None
    shown = image.info.get("shown", Shown())
    told = (shown.turned, shown.transparent, shown.frames)
    stored = (True, _pixel_hash(image), *image.size, image.mode)
    return *stored, *told, blank, flat, int(bits_of(grey[None])[0]), levels


def _pixel_hash(image: Image.Image) -> str:
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()[:32]


def bits_of(grey: NDArray[Any]) -> NDArray[np.uint64]:
    """The signs of the lowest frequencies of squares `(n, SIDE, SIDE)`, 64 bits each."""
    lowest = dctn(grey, norm="ortho", axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES]
    signs = np.packbits((lowest > 0).reshape(len(grey), _FREQUENCIES**2), axis=1)
    return np.ascontiguousarray(signs).view("<u8")[:, 0].astype(np.uint64)
