"""Channel statistics over a folder of natural images that the user names, made once."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.folders import images_in, reading
from hpsearch.datasets.pixels import Preprocessing, preprocess
from hpsearch.datasets.reading import read_image
from hpsearch.detectors.backbones.backbone import Backbone
from hpsearch.detectors.backbones.statistics import (
    STD_FLOOR,
    choose,
    kept_statistics,
    statistics_of_batches,
)
from hpsearch.errors import DataError
from hpsearch.io.files import printable
from hpsearch.io.processes import Progress, silent

MAX_IMAGES = 512  # a seeded choice where there are more
SIDES = (32, 224)  # px, least and most side; larger images are scaled down


def statistics_of_folder(
    backbone: Backbone, folder: Path, *, cache_dir: Path, progress: Progress = silent
) -> Path:
    """File of the statistics of every layer that the weights reach, made where it is not there.

    Each image is cut to its central square and scaled down to 224 px where it is larger; that is
    the size at which networks of ImageNet are trained.

    Args:
        backbone: the network.
        folder: of images, also in folders below it.
        cache_dir: folder of the file, whose name follows from weights and images.
        progress: told of each image.

    Raises:
        DataError: no image, one that cannot be read or is too small, or `cache_dir` cannot be
            written.
    """
    with reading(folder):
        files = images_in(folder)
    if not files:
        raise DataError(
            f"{printable(folder)}: holds no image; name a folder of natural images for the "
            "channel statistics"
        )
    files = [files[position] for position in choose(len(files), MAX_IMAGES)]
    content = _digest_of(files)
    key = json.dumps([backbone.digest, content, SIDES, STD_FLOOR])
    path = cache_dir / f"natural-{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    kept_statistics(
        path,
        backbone.layers,
        lambda: statistics_of_batches(backbone, _pixels(files, progress), backbone.layers),
        {"images": f"{len(files)} images of {printable(folder.name)} (sha256 {content[:12]})"},
    )
    return path


def _digest_of(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise DataError(
                f"{printable(file)}: cannot be read ({error.strerror}); mend its permissions"
            ) from error
    return digest.hexdigest()


def _pixels(files: Sequence[Path], progress: Progress) -> Iterator[NDArray[np.uint8]]:
    """Each image as a batch of its own `(1, S, S, 3)`."""
    least, most = SIDES
    for done, file in enumerate(files, start=1):
        image = read_image(file).convert("RGB")
        side = min(*image.size, most)
        if side < least:
            raise DataError(
                f"{printable(file)}: natural images must have {least} px a side or more, got "
                f"{image.width}x{image.height}; remove it"
            )
        yield np.array(preprocess(image, Preprocessing(side, fit="crop")))[np.newaxis]
        progress("channel statistics over natural images", done, len(files))
