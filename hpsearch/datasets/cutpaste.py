"""Synthetic anomalies: a piece of an image, its colours shifted, pasted elsewhere into it.

After CutPaste (Li et al. 2021, arXiv 2104.04015). That detectors can be chosen by how well they
tell such images from the normals they are made of is due to Fung et al. 2023 (arXiv 2310.10461).
"""

from math import ceil, exp, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

_Pixels = NDArray[np.uint8]
_Mask = NDArray[np.bool_]

_PATCH_AREA = (0.02, 0.15)  # of the image
_PATCH_ASPECT = (0.3, 3.3)
# Of the image's side. In the paper they are 10-25 px by 2-16 px of 256; ours are longer, so that
# something of them is left on images of 32 px.
_SCAR_LENGTH = (0.1, 0.25)
_SCAR_WIDTH = (0.01, 0.06)
_SHORTEST_SCAR = 3.0  # px
_JITTER = 0.1  # brightness, contrast and saturation, as factors around 1


def counterparts(
    pixels: _Pixels, positions: NDArray[np.intp], *, size: int, seed: int
) -> NDArray[np.uint8]:
    """The synthetic counterpart of each image, a pure function of image, row and seed.

    Args:
        pixels: uint8 `(N, S, S, C)`, C 1 or 3, perhaps a memory map.
        positions: `(n,)` rows of `pixels`.
        size: side in px, from 8 to S, of the centre that the defect lies in. A detector that crops
            at random in training sees only so much of an image when it scores it.
        seed: of the defects.

    Returns:
        uint8 `(n, S, S, C)`.
    """
    images = np.array(pixels[positions])
    start = (pixels.shape[1] - size) // 2
    centres = images[:, start : start + size, start : start + size]
    for centre, position in zip(centres, positions, strict=True):
        centre[:] = cut_paste(centre, np.random.default_rng((seed, int(position))))
    return images


def cut_paste(image: _Pixels, rng: np.random.Generator) -> _Pixels:
    """A copy of uint8 `(S, S, C)` with one defect: with equal chance a patch or a thin scar.

    The piece is never pasted where it was cut, and some pixel changes; only an image of one colour,
    which has nothing to cut, comes back as it is. S is at least 8, C is 1 or 3.
    """
    if (image == image[0, 0]).all():
        return image.copy()
    while True:  # a piece that happens to equal what it covers is drawn anew
        if rng.random() < 0.5:  # an upright rectangle
            area = rng.uniform(*_PATCH_AREA) * len(image) ** 2
            aspect = exp(rng.uniform(log(_PATCH_ASPECT[0]), log(_PATCH_ASPECT[1])))
            height, width = (max(1, int(sqrt(extent))) for extent in (area * aspect, area / aspect))
            shape = np.ones((height, width), np.bool_)
        else:
            shape = _scar(len(image), rng)
        pasted = _move(image, shape, rng)
        if not np.array_equal(pasted, image):
            return pasted


def _scar(side: int, rng: np.random.Generator) -> _Mask:
    """A thin rectangle at any angle, True within its bounding box `(h, w)`."""
    length = max(_SHORTEST_SCAR, rng.uniform(*_SCAR_LENGTH) * side)
    width = max(1.0, rng.uniform(*_SCAR_WIDTH) * side)
    angle = rng.uniform(0, pi)
    reach = ceil(length)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = np.abs(columns * np.cos(angle) + rows * np.sin(angle))
    across = np.abs(rows * np.cos(angle) - columns * np.sin(angle))
    inside: _Mask = (along <= length / 2) & (across <= width / 2)
    return inside[np.ix_(inside.any(axis=1), inside.any(axis=0))]


def _move(image: _Pixels, shape: _Mask, rng: np.random.Generator) -> _Pixels:
    """Cut `shape` out at one place, shift its colours, and paste it at another."""
    height, width = shape.shape
    rows, columns = (len(image) - extent + 1 for extent in shape.shape)
    places = rows * columns
    source = int(rng.integers(places))
    target = (source + int(rng.integers(1, places))) % places

    def window(pixels: _Pixels, place: int) -> _Pixels:
        top, left = divmod(place, columns)
        return pixels[top : top + height, left : left + width]

    pasted = image.copy()
    window(pasted, target)[shape] = _jitter(window(image, source)[shape], rng)
    return pasted


def _jitter(colours: _Pixels, rng: np.random.Generator) -> _Pixels:
    """Shift brightness, contrast and saturation of pixels `(n, C)`."""
    brightness, contrast, saturation = rng.uniform(1 - _JITTER, 1 + _JITTER, 3)
    values = colours.astype(np.float64)
    grey = values.mean(axis=1, keepdims=True)
    values = grey + saturation * (values - grey)
    values = values.mean() + contrast * (values - values.mean())
    shifted: _Pixels = np.rint(brightness * values).clip(0, 255).astype(np.uint8)
    return shifted
