"""Whether an exported graph gives the scores that `hpsearch predict` gives."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hpsearch.datasets.reading import read_image
from hpsearch.errors import SpecError
from hpsearch.model.export.formats import Scores
from hpsearch.model.export.pillow import Preprocess
from hpsearch.model.model import Model

N_IMAGES = 10
TOLERANCE = 1e-3  # relative
_SIDES = ((48, 64), (8, 300), (640, 480), (97, 97), (33, 20), *[(120, 160)] * 5)  # px
_COARSE = 9  # px; blown up, so that resizing has something smooth to keep

Pictures = list[NDArray[Any]]


def drawn_images(model: Model, *, seed: int = 0) -> Pictures:
    """Ten coloured or grey blots of several sizes `(H, W, C)`, as the model's graph takes them."""
    preprocess = Preprocess(model.facts.preprocessing)
    rng = np.random.default_rng(seed)

    def blots(height: int, width: int) -> NDArray[Any]:
        coarse = Image.fromarray(rng.integers(0, 256, (_COARSE, _COARSE, 3), dtype=np.uint8))
        smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.array(smooth)[:, :, : preprocess.channels]
        if preprocess.limits is None:
            return np.ascontiguousarray(pixels)
        low, high = preprocess.limits
        beyond = 0.1 * (high - low)  # what is outside of the window counts too
        shares = pixels.astype(np.float32) / 255
        return low - beyond + shares * (high - low + 2 * beyond)

    return [blots(*sides) for sides in _SIDES]


def opened_images(model: Model, files: Sequence[Path]) -> Pictures:
    """The first ten of the user's own images, as the model's graph takes them.

    Raises:
        DataError: one cannot be read.
        SpecError: the graph takes values before the model's window, which files of 8 bits lack.
    """
    preprocess = Preprocess(model.facts.preprocessing)
    if preprocess.limits is not None:
        raise SpecError("images: the graph of a model with a window is checked on drawn ones alone")
    mode = "L" if preprocess.channels == 1 else "RGB"
    window = model.facts.preprocessing.window
    images = (read_image(path, window=window).convert(mode) for path in files[:N_IMAGES])
    return [np.array(image).reshape(image.height, image.width, -1) for image in images]


def largest_difference(model: Model, scores: Scores, images: Pictures) -> float:
    """Largest relative difference between a graph's scores and the model's.

    Args:
        model: whose graph it is.
        scores: of the graph, given images of one size at a time.
        images: `(H, W, C)` each.
    """
    expected = np.concatenate([model.score(batch) for batch in _batches(images)])
    found = np.concatenate([scores(batch) for batch in _batches(images)]).astype(np.float64)
    tiny = np.finfo(np.float32).tiny
    return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), tiny)))


def _batches(images: Pictures) -> Iterator[NDArray[Any]]:
    for _, same in groupby(images, key=np.shape):
        yield np.stack(list(same))
