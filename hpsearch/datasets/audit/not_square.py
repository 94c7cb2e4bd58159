"""What the central square of an image leaves out: with `fit` crop a detector sees nothing else."""

from collections.abc import Iterator

import numpy as np

from hpsearch.datasets.audit.finding import Finding
from hpsearch.datasets.audit.look import Looks
from hpsearch.datasets.pixels import Preprocessing, central_part
from hpsearch.datasets.reading import read_mask
from hpsearch.datasets.table import Dataset
from hpsearch.errors import DataError

_MARKED = 128  # grey level of a mask from which on a pixel is marked
_SQUARE = Preprocessing(1, fit="crop")
_MEND = "keep to fit=stretch, the default, or cut the images into squares"


def not_square_findings(dataset: Dataset, looks: Looks) -> Iterator[Finding]:
    """Images that lose a part, and anomalies that lose all that is marked on them."""
    sides = np.stack([looks["width"], looks["height"]], axis=1).astype(np.float64)
    positions: list[int] = np.flatnonzero(looks["read"] & (sides[:, 0] != sides[:, 1])).tolist()
    if not positions:
        return
    kept = 100 * np.median(sides[positions].min(axis=1) / sides[positions].max(axis=1))
    what = f"{len(positions)} of {len(looks)} images are not square"
    rule = f"with fit=crop only the central square is seen, {kept:.0f} % of the median one"
    yield Finding("warning", "not square", "shapes", f"shapes: {what}; {rule}; {_MEND}")
    with_mask = [place for place in positions if dataset.table["mask_path"].iloc[place]]
    n_outside = sum(_lies_outside(dataset, place) for place in with_mask)
    if n_outside:
        what = f"{n_outside} of {len(with_mask)} anomalies have no marked pixel in that square"
        rule = "with fit=crop nothing of them is seen"
        yield Finding("warning", "cropped away", "masks", f"masks: {what}; {rule}; {_MEND}")


def _lies_outside(dataset: Dataset, position: int) -> bool:
    """Whether pixels are marked, and none of them in the central square."""
    assert dataset.root is not None  # only files have masks
    try:
        mask = read_mask(dataset.root / dataset.table["mask_path"].iloc[position])
    except DataError:  # nothing but benchmarks reads masks
        return False
    marked = np.asarray(mask) >= _MARKED
    left, upper, right, lower = central_part(*mask.size, _SQUARE)
    return bool(marked.any() and not marked[upper:lower, left:right].any())
