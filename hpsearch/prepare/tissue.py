"""Where a slide holds tissue: Otsu's threshold on a thumbnail (section 4.1.1.1)."""

import numpy as np
from numpy.typing import NDArray

MIN_CONTRAST = 20.0  # grey levels between tissue and glass; a blank slide's noise has less
BLACK = 30  # the brightest channel of what was not scanned, or of a slide's black edge, is below

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels of a thumbnail (H, W, 3) are tissue: darker than Otsu's threshold, not black.

    Black pixels take no part in the threshold either. Where the two sides of the threshold differ
    by less than `MIN_CONTRAST` grey levels there is no tissue.
    """
    grey = np.rint(thumbnail @ _LUMA).astype(np.uint8)
    scanned = thumbnail.max(axis=2) >= BLACK
    histogram = np.bincount(grey[scanned], minlength=256)
    threshold = otsu_threshold(histogram)
    if threshold is None or _contrast(histogram, threshold) < MIN_CONTRAST:
        return np.zeros_like(scanned)
    tissue: NDArray[np.bool_] = scanned & (grey <= threshold)
    return tissue


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


def _contrast(histogram: NDArray[np.intp], threshold: int) -> float:
    levels = np.arange(histogram.size)
    dark, bright = histogram[: threshold + 1], histogram[threshold + 1 :]
    return float(
        np.average(levels[threshold + 1 :], weights=bright)
        - np.average(levels[: threshold + 1], weights=dark)
    )
