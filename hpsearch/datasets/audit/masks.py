"""Masks that do not lie on their images as these are shown."""

from collections.abc import Iterator

import numpy as np

from hpsearch.datasets.audit.finding import Finding
from hpsearch.datasets.audit.look import Looks
from hpsearch.datasets.reading import read_mask
from hpsearch.datasets.table import Dataset
from hpsearch.errors import DataError
from hpsearch.files import printable


def mask_findings(dataset: Dataset, looks: Looks) -> Iterator[Finding]:
    """Masks that cannot be read, or have another size than their image has upright."""
    paths = dataset.table["mask_path"]
    for position in np.flatnonzero(looks["read"] & (paths != "").to_numpy()):
        assert dataset.root is not None  # only files have masks
        name = printable(paths.iloc[position])
        try:
            size = read_mask(dataset.root / paths.iloc[position]).size
        except DataError as error:
            yield Finding("warning", "mask", name, str(error))
            continue
        shown = (int(looks["width"][position]), int(looks["height"][position]))
        if size != shown:
            what = f"is {size[0]}x{size[1]} px, its image {shown[0]}x{shown[1]} upright"
            yield Finding("warning", "mask", name, f"mask {name}: {what}; draw it on that")
