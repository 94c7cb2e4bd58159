"""Images as rows of numbers, as scikit-learn has its data, back to pixels."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.pixels import Preprocessing, preprocess
from hpsearch.datasets.reading import image_of
from hpsearch.datasets.window import is_off_scale, span

Shape = tuple[int, int, int]
"""Height, width and channels of an image."""


def flattened(images: Any) -> tuple[Any, tuple[int, ...] | None]:
    """`(N, H, W, C)` as `(N, H * W * C)`, and `(H, W, C)`; anything else as it is, and None."""
    array = np.asarray(images) if isinstance(images, (list, tuple)) else images
    if getattr(array, "ndim", 2) != 4:
        return images, None
    array = np.asarray(array)
    return array.reshape(len(array), -1), array.shape[1:]


def image_shape(given: tuple[int, ...] | None, n_features: int) -> Shape:
    """The shape of images of `n_features` values: the given one, or one that they fill.

    None is a square in grey, else a square in colour, else the grey square that is just larger.

    Raises:
        ValueError: the given shape is no image's, or has another number of values.
    """
    if given is None:
        return _square(n_features)
    if len(given) != 3 or given[2] not in (1, 3):
        raise ValueError(f"images must have the shape (H, W, 1) or (H, W, 3), got {given}")
    if math.prod(given) != n_features:
        raise ValueError(f"image_shape={given} has {math.prod(given)} values, got {n_features}")
    return given[0], given[1], given[2]


def grey_levels(values: NDArray[Any], value_range: tuple[float, float]) -> NDArray[np.uint8]:
    """The values from `value_range[0]` to `value_range[1]` as 0 to 255; those outside are cut off.

    Raises:
        ValueError: the range does not rise, or is plainly not that of the values: floats that
            differ by little at one of its ends (0 to 1 where 0 to 255 are expected), or values that
            all lie beyond it.
    """
    low, high = value_range
    if not low < high:
        raise ValueError(f"value_range must rise, got {value_range}")
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values
    if is_off_scale(values, (low, high)):
        raise ValueError(
            f"value_range={value_range} does not fit images with {span(values)}, which would be "
            "all black or all white; give the values of black and white, or uint8 if it is so"
        )
    shares = (values.astype(np.float64) - low) / (high - low)
    levels: NDArray[np.uint8] = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)
    return levels


def images_of(rows: NDArray[np.uint8], shape: Shape, side: int) -> NDArray[np.uint8]:
    """Rows `(N, F)` as images `(N, side, side, C)`; what a row lacks of its image is black."""
    height, width, channels = shape
    padded = np.zeros((len(rows), height * width * channels), np.uint8)
    padded[:, : rows.shape[1]] = rows
    how = Preprocessing(side)
    resized = np.empty((len(rows), side, side, channels), np.uint8)
    for number, image in enumerate(padded.reshape(-1, height, width, channels)):
        resized[number] = np.asarray(preprocess(image_of(image), how)).reshape(side, side, channels)
    return resized


def _square(n_features: int) -> Shape:
    side = math.isqrt(n_features)
    if side * side == n_features:
        return side, side, 1
    if 3 * (third := math.isqrt(n_features // 3)) ** 2 == n_features:
        return third, third, 3
    return side + 1, side + 1, 1
