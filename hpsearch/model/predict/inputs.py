"""Which images to score, in an order that does not change, and their pixels.

They are files, folders and manifests, decoded in processes with few of them in memory at a time.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.datasets.folders import files_in, passed_over_notes, reading
from hpsearch.datasets.reading import Shown
from hpsearch.errors import DataError
from hpsearch.io.processes import each_in_processes
from hpsearch.io.text import printable
from hpsearch.model.images import PreprocessingFacts, Seen, opened, seen_of

COLUMN = "image_path"


@dataclass(frozen=True)
class Input:
    """An image to score.

    Attributes:
        image_id: unique.
        path: of its file.
    """

    image_id: str
    path: Path


@dataclass(frozen=True)
class Inputs:
    """The images to score, and a line on each folder whose files are not all read."""

    images: tuple[Input, ...]
    notes: tuple[str, ...]


def find_images(paths: Sequence[Path]) -> Inputs:
    """Every image that `paths` name, each once.

    A folder stands for the images anywhere below it, by the rule of
    `hpsearch.datasets.folders`, and a CSV file for its column `image_path`, relative to the
    CSV. A file that is named itself is taken for an image whatever it is. An image's id is its path
    in the folder or in the CSV where one of these is given alone, else its path as given.

    Raises:
        DataError: a path does not exist, a folder cannot be read, a manifest has no such column, or
            there are no images.
    """
    alone = len(paths) == 1
    notes: list[str] = []
    found = {image.image_id: image for path in paths for image in _found(path, notes, alone=alone)}
    if not found:
        named = ", ".join(map(str, paths))
        also = "".join(f" ({note})" for note in notes)
        mend = f"give images, a folder of them, or a CSV with a column {COLUMN}"
        raise DataError(printable(f"{named:.200}: no images there{also}; {mend}"))
    return Inputs(tuple(found.values()), tuple(notes))


def _found(path: Path, notes: list[str], *, alone: bool) -> Iterator[Input]:
    if path.is_dir():
        with reading(path):
            files = files_in(path)
        notes += passed_over_notes(path, files.passed_over)
        below = ((file.relative_to(path).as_posix(), file) for file in files.images)
        yield from _named(path, below, alone=alone)
    elif not path.exists():
        raise DataError(f"{printable(path)}: does not exist; give an image, a folder or a CSV")
    elif path.suffix.lower() == ".csv":
        rows = ((name, path.parent / name) for name in _image_paths(path))
        yield from _named(path.parent, rows, alone=alone)
    else:
        yield Input(str(path), path)


def _named(folder: Path, files: Iterable[tuple[str, Path]], *, alone: bool) -> Iterator[Input]:
    for name, path in files:
        yield Input(name if alone else str(folder / name), path)


def _image_paths(manifest: Path) -> list[str]:
    try:
        table = pd.read_csv(manifest, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        names: list[str] = table[COLUMN].tolist()
    except KeyError as error:
        rule = f"name its column of paths {COLUMN}"
        raise DataError(f"{printable(manifest)}: lacks a column {COLUMN}; {rule}") from error
    except (OSError, ValueError) as error:  # not UTF-8, not CSV, empty
        told = printable(" ".join(str(error).split())[:200])
        raise DataError(
            f"{printable(manifest)}: is no CSV file ({told}); export it anew"
        ) from error
    return [name for name in names if name]


_FEW = 2  # blocks that are decoded sooner than processes start


@dataclass(frozen=True)
class ImageBlock:
    """Images that are scored and written together, and every preprocessing of the model."""

    number: int
    images: tuple[Input, ...]
    hows: tuple[PreprocessingFacts, ...]

    def __str__(self) -> str:
        return f"{self.images[0].path} and the {len(self.images) - 1} images after it"


@dataclass(frozen=True, eq=False)
class Decoded:
    """The readable images of a block, and why the others are not.

    Attributes:
        images: that can be read.
        seen: what the model sees of them.
        facts: of each, what was done to show it.
        unreadable: image id: reason.
    """

    images: tuple[Input, ...]
    seen: Seen
    facts: tuple[Shown, ...]
    unreadable: dict[str, str]


def decoded_blocks(
    blocks: Sequence[ImageBlock], *, workers: int | None
) -> Iterator[tuple[ImageBlock, Decoded]]:
    """The blocks in the order in which they are ready; at most one a worker waits to be taken.

    Args:
        blocks: to decode.
        workers: processes, None for half of the cores; the other half scores.

    Raises:
        HpsearchError: a worker died.
    """
    processes = min(workers or max(1, (os.cpu_count() or 1) // 2), len(blocks))
    if len(blocks) <= _FEW:
        yield from ((block, decode(block)) for block in blocks)
    else:
        yield from each_in_processes(decode, blocks, workers=processes)


def decode(block: ImageBlock) -> Decoded:
    """Decode and preprocess one block."""
    readable: list[Input] = []
    pixels: list[list[NDArray[np.uint8]]] = [[] for _ in block.hows]
    facts: list[Shown] = []
    unreadable: dict[str, str] = {}
    for image in block.images:
        try:
            shown = opened(image.path, block.hows[0])
            for of_images, how in zip(pixels, block.hows, strict=True):
                of_images.append(seen_of(shown, how))
            facts.append(shown.info["shown"])
            readable.append(image)
        except DataError as error:
            unreadable[image.image_id] = str(error)
    seen = [
        np.stack(of_images) if of_images else np.empty((0, *how.shape), np.uint8)
        for of_images, how in zip(pixels, block.hows, strict=True)
    ]
    return Decoded(tuple(readable), seen, tuple(facts), unreadable)
