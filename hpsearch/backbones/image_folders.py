"""Small labelled images kept in `<folder>/<class>/<file>`, read into one array."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.reading import read_image
from hpsearch.errors import DataError


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images `(N, H, W, 3)`, the number of each one's class `(N,)`, and the classes' names."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def read_image_folders(folder: Path) -> LabelledImages:
    """All images below `folder`, class by class and file by file in the order of their names.

    Raises:
        DataError: no image at all, a damaged one, or images of different sizes.
    """
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    if not files:
        raise DataError(f"{folder}: holds no <class>/<image> files; name the folder of the classes")
    classes = tuple(sorted({path.parent.name for path in files}))
    first = _read(files[0])
    images = np.empty((len(files), *first.shape), dtype=np.uint8)
    for position, path in enumerate(files):
        image = _read(path)
        if image.shape != first.shape:
            raise DataError(
                f"{path}: images must all have the size of {files[0]}, {first.shape[1]}x"
                f"{first.shape[0]}, got {image.shape[1]}x{image.shape[0]}; resize it"
            )
        images[position] = image
    labels = np.array([classes.index(path.parent.name) for path in files], dtype=np.int64)
    return LabelledImages(images, labels, classes)


def _read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(read_image(path).convert("RGB"))
