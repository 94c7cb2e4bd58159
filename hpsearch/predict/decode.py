"""Images to the pixels that a model sees, in processes, with few of them in memory at a time."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpsearch.datasets.shown import Shown
from hpsearch.errors import DataError
from hpsearch.model.facts import PreprocessingFacts
from hpsearch.model.images import opened, seen_of
from hpsearch.predict.inputs import Input
from hpsearch.prepare.workers import each_in_processes

_FEW = 2  # blocks that are decoded sooner than processes start


@dataclass(frozen=True)
class Block:
    """Images that are scored and written together."""

    number: int
    images: tuple[Input, ...]
    how: PreprocessingFacts

    def __str__(self) -> str:
        return f"{self.images[0].path} and the {len(self.images) - 1} images after it"


@dataclass(frozen=True, eq=False)
class Decoded:
    """The readable images of a block, and why the others are not."""

    images: tuple[Input, ...]
    seen: NDArray[np.uint8]  # (n, size, size, channels)
    facts: tuple[Shown, ...]  # of each, what was done to show it
    unreadable: dict[str, str]  # image id: reason


def decoded_blocks(
    blocks: Sequence[Block], *, workers: int | None
) -> Iterator[tuple[Block, Decoded]]:
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


def decode(block: Block) -> Decoded:
    """Decode and preprocess one block."""
    how = block.how
    readable: list[Input] = []
    pixels: list[NDArray[np.uint8]] = []
    facts: list[Shown] = []
    unreadable: dict[str, str] = {}
    for image in block.images:
        try:
            shown = opened(image.path, how)
            pixels.append(seen_of(shown, how))
            facts.append(shown.info["shown"])
            readable.append(image)
        except DataError as error:
            unreadable[image.image_id] = str(error)
    empty = np.empty((0, how.size, how.size, how.channels), np.uint8)
    seen = np.stack(pixels) if pixels else empty
    return Decoded(tuple(readable), seen, tuple(facts), unreadable)
