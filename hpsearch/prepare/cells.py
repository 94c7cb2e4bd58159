"""Which tiles a slide gives: cells of a fixed grid that hold what is asked for, some at random."""

import numpy as np
from numpy.typing import NDArray

from hpsearch.prepare.annotations import Annotations
from hpsearch.prepare.tissue import whole_cells

PIXELS_A_CELL = 3  # thumbnail px along a tile's side; of 768 px tiles that is the 256th scale

Corner = tuple[int, int]  # x, y of a tile's upper left pixel at level 0


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
