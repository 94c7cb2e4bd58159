"""Small labelled images kept in folders of classes, read into one array."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.folders import files_in, files_outside, folders_in, passed_over_notes
from hpsearch.datasets.reading import read_image
from hpsearch.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images `(N, H, W, 3)`, the number of each one's class `(N,)`, and the classes' names."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def read_image_folders(folder: Path) -> LabelledImages:
    """All images below `folder`, class by class and file by file in the order of their names.

    What is passed over is logged; which files are images is the rule of
    `hpsearch.datasets.folders`.

    Raises:
        DataError: no image at all, a damaged one, or images of different sizes.
    """
    found = {kind.name: files_in(kind) for kind in folders_in(folder)}
    files = [path for kind in found.values() for path in kind.images]
    if not files:
        raise DataError(f"{folder}: holds no <class>/<image> files; name the folder of the classes")
    passed_over = files_outside(folder, folders_in(folder))
    passed_over += [file for kind in found.values() for file in kind.passed_over]
    for note in passed_over_notes(folder, passed_over):
        log.warning(note)
    classes = tuple(name for name, kind in found.items() if kind.images)
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
    counts = [len(found[name].images) for name in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return LabelledImages(images, labels, classes)


def _read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(read_image(path).convert("RGB"))
