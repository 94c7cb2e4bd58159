"""A function of every image of a dataset, in parallel, collecting the files that are bad."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image

from hpsearch.datasets.reading import image_of, read_image
from hpsearch.datasets.table import Dataset
from hpsearch.datasets.window import Window
from hpsearch.errors import DataError
from hpsearch.io.progress import Progress, silent

CHUNK = 64  # images a task

Result = TypeVar("Result")
Images = Sequence[Path] | NDArray[np.uint8]


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be read; takes the place of its result."""

    message: str


def each_image(
    dataset: Dataset,
    function: Callable[[Image.Image], Result],
    *,
    workers: int = 1,
    what: str,
    progress: Progress = silent,
) -> Iterator[list[Result | BadImage]]:
    """`function` of every image, in the order of the table, in lists of up to `CHUNK`.

    Args:
        dataset: its files are opened in the workers.
        function: can be sent to another process.
        workers: processes.
        what: the work, as the progress names it.
        progress: told after each list.
    """
    n = len(dataset.table)
    tasks = (
        delayed(_apply)(function, _images(dataset, start, min(start + CHUNK, n)), dataset.window)
        for start in range(0, n, CHUNK)
    )
    done = 0
    for results in Parallel(n_jobs=workers, return_as="generator")(tasks):
        yield results
        done += len(results)
        progress(what, done, n)


def _images(dataset: Dataset, start: int, stop: int) -> Images:
    if dataset.arrays is not None:
        return np.asarray(dataset.arrays[start:stop])
    return [dataset.file(position) for position in range(start, stop)]


def _apply(
    function: Callable[[Image.Image], Result], images: Images, window: Window | None
) -> list[Result | BadImage]:
    return [_apply_one(function, image, window) for image in images]


def _apply_one(
    function: Callable[[Image.Image], Result],
    image: Path | NDArray[np.uint8],
    window: Window | None,
) -> Result | BadImage:
    try:
        opened = read_image(image, window=window) if isinstance(image, Path) else image_of(image)
    except DataError as error:
        return BadImage(str(error))
    return function(opened)
