"""Where a slide holds tissue: Otsu's threshold on a thumbnail (section 4.1.1.1), and its colour.

Otsu parts a slide into dark and bright, and pen, the edge of a bubble and a scanner's grey ring are
dark too. Haematoxylin and eosin both absorb green more than anything else, so that tissue is
coloured, hardly greener than red, not much bluer, and less saturated than ink. What is not so is
no tissue, and takes no part in the threshold, which a third kind of darkness would draw away from
the tissue. So would a second, darker piece of tissue; a piece that the threshold leaves out as a
whole is parted from the glass by one of its own. Tiles are the cells of a fixed grid that hold what
is asked for, some at random.

The limits hold for means over a thumbnail's pixel (256 px at x40 for tiles of 768 px). Of 8,100
such means over real lung tissue (LC25000) none is outside those of ink and darkness.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from hpsearch.datasets.prepare.annotations import Annotations

TISSUE_RULE = 2  # raised when a slide may give other tiles; 1 was Otsu's threshold alone
MIN_CONTRAST = 20.0  # grey levels between tissue and glass; a blank slide's noise has less
DARK = 100  # the brightest channel of black pen, of a bubble's edge or of what was not scanned
MIN_SATURATION = 0.05  # (max - min) / max of the channels; a ring, a shadow, dust have less
MAX_SATURATION = 0.75  # ink of any colour has more
MAX_GREEN, MAX_BLUE = 1.15, 2.3  # over red; blue and green ink have more
PIXELS_A_CELL = 3  # thumbnail px along a tile's side; of 768 px tiles that is the 256th scale
GLASS = 0.75  # of the slide's brightest grey level, from which what has no colour is glass

Corner = tuple[int, int]  # x, y of a tile's upper left pixel at level 0

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_LEAST_PIECE = 25  # px: a cell of a grid lies wholly in a square of 5 px, wherever that begins
_MISSED = 0.1  # of a piece
_TOUCHING = np.ones((3, 3), dtype=bool)


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels of a thumbnail (H, W, 3) are tissue: coloured so, and darker than the threshold.

    The pixels around ink, grey and dark things are none either, for they hold some of it. Where
    the two sides of the threshold differ by less than `MIN_CONTRAST` grey levels there is no
    tissue.
    """
    grey = np.rint(thumbnail @ _LUMA).astype(np.uint8)
    red, green, blue = np.moveaxis(thumbnail.astype(np.float64), 2, 0)
    brightest, faintest = thumbnail.max(axis=2).astype(np.float64), thumbnail.min(axis=2)
    saturation = (brightest - faintest) / np.maximum(brightest, 1)
    ink = (saturation > MAX_SATURATION) | (green > MAX_GREEN * red) | (blue > MAX_BLUE * red)
    coloured = saturation >= MIN_SATURATION
    glass = ~coloured & (grey >= GLASS * np.percentile(grey, 99))
    marked = ink | (brightest < DARK) | ~(coloured | glass)
    stained = coloured & ~binary_dilation(marked, _TOUCHING)
    glass &= ~marked
    tissue: NDArray[np.bool_] = stained & _darker(grey, coloured & ~marked, glass, MIN_CONTRAST)
    # Connected pieces that could hold tiles and of which hardly anything is tissue so far.
    pieces, n = label(stained, _TOUCHING)
    sizes = np.bincount(pieces.ravel(), minlength=n + 1)
    so_far = np.bincount(pieces[tissue], minlength=n + 1)
    for number in range(1, n + 1):
        if sizes[number] >= _LEAST_PIECE and so_far[number] < _MISSED * sizes[number]:
            tissue |= _darker(grey, pieces == number, glass, 2 * MIN_CONTRAST)
    return tissue


def _darker(
    grey: NDArray[np.uint8], part: NDArray[np.bool_], glass: NDArray[np.bool_], contrast: float
) -> NDArray[np.bool_]:
    """What of a part is on the dark side of the threshold between it and the glass."""
    histogram = np.bincount(grey[part | glass], minlength=256)
    threshold = otsu_threshold(histogram)
    if threshold is None:
        return np.zeros_like(part)
    dark, bright = (
        np.average(levels, weights=histogram[levels])
        for levels in (np.arange(threshold + 1), np.arange(threshold + 1, histogram.size))
    )
    return part & (grey <= threshold) & bool(bright - dark >= contrast)


def otsu_threshold(histogram: NDArray[np.intp]) -> int | None:
    """The largest grey level of the dark class, chosen so that the classes differ most.

    Maximises the variance between the classes, w0 w1 (m0 - m1)^2 with weights w and means m
    (Otsu, 1979). None where the histogram (256,) has fewer than two levels.
    """
    levels = np.arange(histogram.size)
    below = np.cumsum(histogram)
    above = below[-1] - below
    total_below = np.cumsum(histogram * levels)
    total_above = total_below[-1] - total_below
    parted = (below > 0) & (above > 0)
    if not parted.any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total_below / below - total_above / above) ** 2.0
    return int(np.argmax(np.where(parted, between, -1.0)))


def whole_cells(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Which cells (H // side, W // side) of a grid hold nothing but True of the mask (H, W)."""
    rows, columns = mask.shape[0] // side, mask.shape[1] // side
    cut = mask[: rows * side, : columns * side]
    return np.asarray(cut.reshape(rows, side, columns, side).all(axis=(1, 3)))


def tissue_corners(mask: NDArray[np.bool_], side: int) -> list[Corner]:
    """Tiles of nothing but tissue, in reading order.

    The tissue mask is eroded to whole cells of a grid of `side` px, as the paper's code does.

    Args:
        mask: of a thumbnail with `PIXELS_A_CELL` px along a tile.
        side: of a tile, in px of level 0.
    """
    rows, columns = np.nonzero(whole_cells(mask, PIXELS_A_CELL))
    return [(int(x) * side, int(y) * side) for y, x in zip(rows, columns, strict=True)]


def tumour_corners(corners: list[Corner], annotations: Annotations, side: int) -> list[Corner]:
    """Those of the tiles that lie wholly inside the annotated tumour."""
    return [(x, y) for x, y in corners if annotations.covers(x, y, side)]


def choose_corners(corners: list[Corner], n: int, *, seed: int, slide: str) -> list[Corner]:
    """At most `n` of the tiles at random, in reading order.

    The draw depends on the seed and the slide's name alone: not on other slides, nor on workers.
    """
    chosen: NDArray[np.intp] = np.random.default_rng([seed, *slide.encode()]).permutation(
        len(corners)
    )[:n]
    return [corners[i] for i in np.sort(chosen)]
