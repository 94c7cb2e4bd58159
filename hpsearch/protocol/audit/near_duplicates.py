"""Images that look the same though their pixels differ: saved anew, scaled, or of one scene.

Two images are candidates where at most `MAX_BITS` of their 64 bits differ. Then one of the 8 bytes
is the same in both, so that only images with a byte in common are compared. Candidates whose small
grey copies correlate are near-duplicates. The same is done with the one turned by right angles or
mirrored, eight ways in all. Images that are too flat are left out, and a copy that was cropped is
not found.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.io.text import printable
from hpsearch.protocol.audit.image_rules import GREY_SIDE, Looks, bits_of
from hpsearch.protocol.folds import Positions
from hpsearch.protocol.protocol import Finding


@dataclass(frozen=True)
class Turn:
    """A way in which a copy may lie: rows and columns swapped, then the order of each reversed.

    Attributes:
        name: in messages.
        transposed: rows and columns swapped.
        upside_down: the order of the rows reversed.
        mirrored: the order of the columns reversed.
    """

    name: str
    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def of_values(self, values: NDArray[np.int8]) -> NDArray[np.int8]:
        """Squares `(n, side * side)`, each turned."""
        side = round(values.shape[1] ** 0.5)
        squares = values.reshape(len(values), side, side)
        turned = squares.transpose(0, 2, 1) if self.transposed else squares
        turned = turned[:, :: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return np.ascontiguousarray(turned).reshape(values.shape)


TURNS = (
    Turn("as it is"),
    Turn("mirrored", mirrored=True),
    Turn("mirrored upside down", upside_down=True),
    Turn("turned by 180 degrees", upside_down=True, mirrored=True),
    Turn("turned by 90 degrees", transposed=True, upside_down=True),
    Turn("turned by 90 degrees", transposed=True, mirrored=True),
    Turn("mirrored and turned", transposed=True),
    Turn("mirrored and turned", transposed=True, upside_down=True, mirrored=True),
)
"""The first changes nothing."""


# Lung tissue, magnetic tiles: copies saved as JPEG of quality 60 or scaled by 0.5 to 1.1 correlate
# above 0.999, images of different groups below 0.981. Of 60,000 CIFAR-10 images those above 0.99
# show the same scene; of 1,797 digits of 8x8 px a few above it are merely alike.
MIN_CORRELATION = 0.99
MAX_BITS = 7

_BYTES = 8
_BLOCK = 512  # images a side of a comparison, which bounds its memory


@dataclass(frozen=True)
class _Images:
    """What is compared of the images.

    Attributes:
        positions: `(n,)`, in the table.
        bits: `(turns, n)`, of the images turned in each way.
        grey: `(n, pixels)`, the grey copies.
        pixels: `(n,)`, hashes.
        group: `(n,)`, numbered.
        in_test: `(n,)`.
    """

    positions: Positions
    bits: NDArray[np.uint64]
    grey: NDArray[np.int8]
    pixels: NDArray[np.bytes_]
    group: NDArray[np.intp]
    in_test: NDArray[np.bool_]


@dataclass(frozen=True)
class _Pairs:
    """Pairs of images, alike when the second lies in one of the turns.

    Attributes:
        one: `(m,)`, indices.
        two: `(m,)`, indices.
        correlation: `(m,)`, of their grey copies.
        turn: the way in which the second lies, of `TURNS`.
    """

    one: Positions
    two: Positions
    correlation: NDArray[np.float64]
    turn: int


class _Nearest:
    """For each image the one most like it: of the other split where there is one."""

    def __init__(self, n: int) -> None:
        self.rank = np.zeros(n)  # the correlation, and 1 more across the splits
        self.other = np.full(n, -1)
        self.turn = np.zeros(n, dtype=int)
        self.count = np.zeros(n, dtype=int)

    def add(
        self, subject: Positions, other: Positions, rank: NDArray[np.float64], turn: int
    ) -> None:
        np.add.at(self.count, subject, 1)
        better = np.flatnonzero(rank > self.rank[subject])
        # Ascending: of several for one subject the last, which is the best, stays.
        order = better[np.argsort(rank[better], kind="stable")]
        self.rank[subject[order]] = rank[order]
        self.other[subject[order]] = other[order]
        self.turn[subject[order]] = turn


def near_duplicate_findings(table: pd.DataFrame, looks: Looks) -> Iterator[Finding]:
    """A finding an image with near-duplicates in the other split or in other groups.

    It is a test image's finding where the splits differ, else the later image's.
    """
    positions = np.flatnonzero(looks["read"] & ~looks["flat"])
    grey = looks["grey"][positions]
    squares = (len(grey), GREY_SIDE, GREY_SIDE)
    turned = [bits_of(turn.of_values(grey).reshape(squares)) for turn in TURNS[1:]]
    images = _Images(
        positions,
        np.stack([looks["bits"][positions], *turned]),
        grey,
        looks["pixels"][positions],
        pd.factorize(table["group"])[0][positions],
        (table["split"] == "test").to_numpy()[positions],
    )
    nearest = _Nearest(len(table))
    for pairs in _pairs(images):
        one, two = pairs.one, pairs.two
        across = images.in_test[one] != images.in_test[two]
        swap = np.where(across, images.in_test[one], one > two)
        subject, other = np.where(swap, one, two), np.where(swap, two, one)
        rank = pairs.correlation + across
        nearest.add(images.positions[subject], images.positions[other], rank, pairs.turn)
    for position in np.flatnonzero(nearest.count):
        yield _finding(table, nearest, int(position))


def _pairs(images: _Images) -> Iterator[_Pairs]:
    """Every pair once."""
    for turn in range(len(TURNS)):
        for byte in range(_BYTES):
            for rows, columns in _blocks(images.bits[0], images.bits[turn], byte):
                near = _near(images.bits[0][rows], images.bits[turn][columns], byte)
                near &= rows[:, None] < columns[None]
                if near.any():
                    yield _alike(images, rows, columns, near, turn)


def _blocks(
    bits: NDArray[np.uint64], turned: NDArray[np.uint64], byte: int
) -> Iterator[tuple[Positions, Positions]]:
    """Images and turned images that have a byte in common, a block of each at a time."""
    of_bits, of_turned = (
        np.ascontiguousarray(values).view(np.uint8).reshape(-1, _BYTES)[:, byte]
        for values in (bits, turned)
    )
    one, two = _by_value(of_bits), _by_value(of_turned)
    for value in np.intersect1d(of_bits, of_turned):
        rows, columns = one[value], two[value]
        for some in np.split(rows, range(_BLOCK, len(rows), _BLOCK)):
            for others in np.split(columns, range(_BLOCK, len(columns), _BLOCK)):
                if some[0] < others[-1]:  # both ascend
                    yield some, others


def _by_value(values: NDArray[np.uint8]) -> list[Positions]:
    """For each of the 256 values the places where it stands, ascending."""
    order = np.argsort(values, kind="stable")
    return np.split(order, np.searchsorted(values[order], np.arange(1, 256)))


def _near(rows: NDArray[np.uint64], columns: NDArray[np.uint64], byte: int) -> NDArray[np.bool_]:
    """Which candidates (rows, columns) have `byte` in common but none of the bytes before it."""
    differing = rows[:, None] ^ columns[None]
    near: NDArray[np.bool_] = np.bitwise_count(differing) <= MAX_BITS
    if near.any():
        before = differing.view(np.uint8).reshape(*differing.shape, _BYTES)[..., :byte]
        near &= before.all(axis=-1)
    return near


def _alike(
    images: _Images, rows: Positions, columns: Positions, near: NDArray[np.bool_], turn: int
) -> _Pairs:
    """Those candidates that are near-duplicates and that splits or groups keep apart."""
    at = np.nonzero(near)
    one, two = rows[at[0]], columns[at[1]]
    apart = (images.in_test[one] != images.in_test[two]) | (images.group[one] != images.group[two])
    apart &= images.pixels[one] != images.pixels[two]
    one, two = one[apart], two[apart]
    correlation = _correlation(images, one, two, turn)
    alike = correlation >= MIN_CORRELATION
    for earlier in range(turn):  # in which the pair was found already
        differing = images.bits[0][one] ^ images.bits[earlier][two]
        known = np.bitwise_count(differing) <= MAX_BITS
        known[known] &= _correlation(images, one[known], two[known], earlier) >= MIN_CORRELATION
        alike &= ~known
    return _Pairs(one[alike], two[alike], correlation[alike], turn)


def _correlation(images: _Images, one: Positions, two: Positions, turn: int) -> NDArray[np.float64]:
    turned = TURNS[turn].of_values(images.grey[two])
    products = _unit(images.grey[one]) * _unit(turned)
    correlation: NDArray[np.float64] = products.sum(axis=1).astype(np.float64)
    return correlation


def _unit(grey: NDArray[np.int8]) -> NDArray[np.float32]:
    """The rows (n, pixels) with mean 0 and length 1."""
    rows = grey.astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _finding(table: pd.DataFrame, nearest: _Nearest, position: int) -> Finding:
    one, two = table.iloc[position], table.iloc[nearest.other[position]]
    across = one["split"] != two["split"]
    subject, count = printable(one["image_id"]), nearest.count[position]
    more = f" and {count - 1} more" if count > 1 else ""
    turned = f"{TURNS[nearest.turn[position]].name}, " if nearest.turn[position] else ""
    how = f"{turned}correlation {nearest.rank[position] - across:.3f} as small grey copies"
    why = (
        "one is in train and the other in test; remove one if they show the same"
        if across
        else "their groups differ; give them one group if they show the same"
    )
    message = f"image {subject}: looks like {printable(two['image_id'])}{more} ({how}), but {why}"
    return Finding("warning", "near-duplicate", subject, message)
