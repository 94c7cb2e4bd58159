"""The intensity window: which values of an image of more than 8 bits become black and white.

A study names it, because there is no right guess: what lies outside is lost. Values in between
are mapped in proportion. Images of 8 bits are taken as they are, with or without a window.
"""

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import bad_file
from hpsearch.io.text import printable

Window = tuple[float, float] | Literal["dicom"]
"""The values that become 0 and 255, or "dicom": those that each DICOM file names itself."""

SETTING = "dataset.window (--window LOW,HIGH)"
_MARGIN = 0.1  # share of a range; floats that all lie in it at one end are of another scale


class WindowMissingError(DataError):
    """An image of more than 8 bits and no window to see it through.

    Args:
        path: of the image.
        what: it holds.
        remedy: what to do about it.
    """

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        super().__init__(path, what, remedy)
        self.path = path
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return str(bad_file(self.path, self.what, self.remedy))


def as_window(value: object) -> Window:
    """A window from two numbers in a list or a tuple, or from the word dicom.

    Raises:
        ValueError: it is neither, an end is not finite, or the low end is not below the high one.
    """
    if isinstance(value, str) and value.strip().lower() == "dicom":
        return "dicom"
    ends = value if isinstance(value, (list, tuple)) else ()
    numbers = [float(end) for end in ends if type(end) in (int, float) and math.isfinite(end)]
    if not len(ends) == len(numbers) == 2 or numbers[0] >= numbers[1]:
        raise ValueError("a window is two numbers, the lower first, or dicom")
    return numbers[0], numbers[1]


def parse_window(text: str) -> Window:
    """The window of an option: `0,4095` or `dicom`.

    Raises:
        SpecError: the text is neither.
    """
    try:
        parts = [float(part) for part in text.split(",")] if "," in text else text
        return as_window(parts)
    except ValueError:
        rule = "a window is two numbers, the lower first, e.g. 0,4095, or dicom"
        raise SpecError(f"--window '{printable(text):.60}': {rule}") from None


def windowed(
    path: Path, values: NDArray[Any], window: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """Grey levels of `values`, which the file at `path` holds; of the same shape.

    Raises:
        WindowMissingError: there is no window.
        DataError: a value is not finite.
    """
    if not np.isfinite(values).all():
        raise bad_file(path, "holds values that are not finite", "replace or remove it")
    if window is None:
        what = f"holds more than 8 bits a channel ({span(values)})"
        remedy = f"set {SETTING} to the values that become black and white"
        raise WindowMissingError(path, what, remedy)
    low, high = window
    grey = values.astype(np.float64)
    grey -= low
    grey /= high - low
    grey *= 255
    return np.rint(grey.clip(0, 255, out=grey), out=grey).astype(np.uint8)


def no_own_window(path: Path, values: NDArray[Any], what: str) -> WindowMissingError:
    """The error of a file that cannot tell its window, with `what` it has instead."""
    return WindowMissingError(path, f"{what} ({span(values)})", f"set {SETTING} to two numbers")


def is_off_scale(values: NDArray[Any], ends: tuple[float, float]) -> bool:
    """Whether `values` differ, and yet become all black or all white between these `ends`.

    So do floats from 0 to 1 where 0 to 255 are expected. Floats are told by a tenth of the range
    at either end, other numbers by lying wholly beyond it.
    """
    low, high = ends
    margin = _MARGIN * (high - low) if values.dtype.kind == "f" else 0.0
    first, last = values.min(), values.max()
    return bool(first < last and (last <= low + margin or first >= high - margin))


def span(values: NDArray[Any]) -> str:
    """From which to which value an image goes, in words."""
    return f"values from {values.min():g} to {values.max():g}"
