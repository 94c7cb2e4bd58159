"""Published fold files: which images each fold trains on, holds out and scores, as they are.

    <folder>/<k>/normal/train, normal/val, normal/test, anomaly/test      a name a line
    <folder>/<k>/train.npy, val.npy, test_normal.npy, test_anomaly.npy    numbers of images

for the folds k = 0, 1, 2 and so on, as the paper's authors published theirs (the repository
ninatu/anomaly_detection, folds/folds). A name is an image's id, or the last part of the id where no
other image has that. A number counts the images of the training side in the table's order, from 0;
for CIFAR-10 and SVHN that is torchvision's order.

`val` is held out for early stopping, `test` is what the fold scores; none is a test image.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.datasets.nih import read_names
from hpsearch.datasets.reading import check_regular_file
from hpsearch.datasets.table import ANOMALY
from hpsearch.errors import DataError
from hpsearch.io.text import printable
from hpsearch.protocol.folds import Fold, Positions, final_split
from hpsearch.protocol.labels import anomaly_pool

_NAMES = ("normal/train", "normal/val", "normal/test", "anomaly/test")
_NUMBERS = ("train.npy", "val.npy", "test_normal.npy", "test_anomaly.npy")
# What numpy raises at a header of random bytes.
_DAMAGED = (OSError, ValueError, EOFError, TypeError, OverflowError, SyntaxError, TokenError)
_LACKING, _SEVERAL = -1, -2  # instead of a position
_MEND = "give the fold files of this data set and normal class, or take --protocol clean"


@dataclass(frozen=True, eq=False)
class OfficialFolds:
    """What the files of a folder say, as row positions of the image table.

    Attributes:
        folds: of the training normals.
        anomalies: the labelled anomalies that each fold scores, ascending.
    """

    folds: tuple[Fold, ...]
    anomalies: tuple[Positions, ...]

    @cached_property
    def digest(self) -> str:
        """Names the folds with their anomalies, 16 hex digits."""
        digest = hashlib.sha256()
        for fold, anomalies in zip(self.folds, self.anomalies, strict=True):
            digest.update(f"{fold.digest} {anomalies.tolist()}".encode())
        return digest.hexdigest()[:16]


def read_fold_files(folder: Path, table: pd.DataFrame) -> OfficialFolds:
    """The folds in `folder`, numbered from 0, of the images in `table`; leaks are not looked for.

    Raises:
        DataError: a fold or a file is missing, empty or damaged, or lists what is not in the table,
            is of another class or split, or was listed before.
    """
    images = _Images(table)
    folds, anomalies = [], []
    for place in _fold_folders(folder):
        train, early_stop, scored, labelled = _read_fold(place, images)
        folds.append(Fold(train, early_stop, scored))
        anomalies.append(labelled)
    return OfficialFolds(tuple(folds), tuple(anomalies))


def leaks(folds: Sequence[Fold], table: pd.DataFrame) -> list[str]:
    """A line a fault by which a fold scores what its training has seen; empty where there is none.

    An image counts in the first of training, held out and scored that it is in, so that a group is
    named only where different images of it lie in two parts.
    """
    ids, groups = (table[column].to_numpy(dtype=object) for column in ("image_id", "group"))
    return [
        f"fold {number}: {fault}"
        for number, fold in enumerate(folds)
        for fault in _faults(fold, ids, groups)
    ]


def _faults(fold: Fold, ids: NDArray[np.object_], groups: NDArray[np.object_]) -> Iterator[str]:
    seen = np.union1d(fold.train, fold.early_stop)
    scored = np.intersect1d(fold.scored, seen)
    if scored.size:
        trained = np.intersect1d(fold.scored, fold.train).size
        what = f"{scored.size} of {fold.scored.size} scored normals were used before"
        how = f"{trained} trained on, {scored.size - trained} held out for early stopping"
        yield f"{what} ({how}), first {printable(ids[scored[0]])}"
    held = np.intersect1d(fold.early_stop, fold.train)
    if held.size:
        what = f"{held.size} of {fold.early_stop.size} normals held out for early stopping"
        yield f"{what} were also trained on, first {printable(ids[held[0]])}"
    early_stop = np.setdiff1d(fold.early_stop, fold.train)
    parts = (fold.train, early_stop, np.setdiff1d(fold.scored, seen))
    train, held_out, rest = (set(groups[part]) for part in parts)
    straddling = sorted((train & held_out) | (rest & (train | held_out)))
    if straddling:
        what = f"{len(straddling)} groups of images lie in two of its parts"
        yield f"{what}, first {printable(straddling[0])}"


def _fold_folders(folder: Path) -> list[Path]:
    try:
        names = {entry.name for entry in folder.iterdir() if entry.name.isdecimal()}
    except OSError as error:
        what = f"{printable(folder)}: cannot be listed ({error.strerror})"
        raise DataError(f"{what}; give the folder that holds the folds 0, 1, 2") from error
    if not names:
        what = f"{printable(folder)}: holds no folds"
        raise DataError(f"{what}; give the folder that holds the folds 0, 1, 2")
    for number in range(len(names)):
        if str(number) not in names:
            what = f"{printable(folder)}: fold {number} is missing"
            raise DataError(f"{what}; number the folders of the {len(names)} folds from 0")
    return [folder / str(number) for number in range(len(names))]


def _read_fold(place: Path, images: "_Images") -> list[Positions]:
    """Positions in the order of `_NAMES`."""
    if (place / _NUMBERS[0]).exists():
        files = [place / name for name in _NUMBERS]
        listed = [images.by_number(file, _read_numbers(file)) for file in files]
    elif (place / _NAMES[0]).exists():
        files = [place / name for name in _NAMES]
        listed = [images.by_name(file, read_names(file)) for file in files]
    else:
        what = f"{printable(place)}: is no fold, for it holds neither {_NAMES[0]} nor {_NUMBERS[0]}"
        raise DataError(f"{what}; give the folder that holds the folds 0, 1, 2 of one class")
    *normals, anomalies = zip(files, listed, strict=True)
    searched = [images.checked(*of_file, images.normals, "normals") for of_file in normals]
    return [*searched, images.checked(*anomalies, images.anomalies, "anomalies")]


def _read_numbers(file: Path) -> NDArray[np.int64]:
    check_regular_file(file)
    try:
        # Mapped, for a damaged header may claim any size.
        numbers = np.array(np.load(file, mmap_mode="r", allow_pickle=False))
    except _DAMAGED as error:
        raise DataError(f"{printable(file)}: is no array of numbers; download it again") from error
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        what = f"holds {numbers.dtype} of shape {numbers.shape}, not a row of whole numbers"
        raise DataError(f"{printable(file)}: {what}; download it again")
    return numbers.astype(np.int64)


class _Images:
    """The images of a table by name or number, and those that a list may hold."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.ids = table["image_id"].to_numpy(dtype=object)
        self.labels, self.splits = table["label"].to_numpy(), table["split"].to_numpy(dtype=object)
        # By whole id and by its last part, `_SEVERAL` where images share the latter.
        by_last: dict[str, int] = {}
        for position, image_id in enumerate(self.ids):
            last = image_id.rpartition("/")[2]
            by_last[last] = _SEVERAL if last in by_last else position
        self.names = by_last | {image_id: position for position, image_id in enumerate(self.ids)}
        self.training = np.flatnonzero(self.splits == "train")
        self.normals, self.anomalies = final_split(table), anomaly_pool(table)

    def by_name(self, file: Path, names: Sequence[str]) -> Positions:
        """Positions of the images of these names, in their order."""
        positions = np.array([self.names.get(name, _LACKING) for name in names], dtype=np.intp)
        for wrong, what in (
            (_LACKING, "is not in the data set"),
            (_SEVERAL, "is the name of several images in the data set"),
        ):
            if (at := np.flatnonzero(positions == wrong)).size:
                name = f"{printable(names[at[0]]):.200}"
                count = f"{at.size} of {len(names)} such names"
                raise DataError(f"{printable(file)}: {name} {what} ({count}); {_MEND}")
        return positions

    def by_number(self, file: Path, numbers: NDArray[np.int64]) -> Positions:
        """Positions of the training images of these numbers, in their order."""
        outside = numbers[(numbers < 0) | (numbers >= self.training.size)]
        if outside.size:
            what = f"number {outside[0]} is not in the data set"
            has = f"which has {self.training.size} training images"
            raise DataError(f"{printable(file)}: {what}, {has}; {_MEND}")
        return self.training[numbers]

    def checked(self, file: Path, positions: Positions, allowed: Positions, what: str) -> Positions:
        """The positions ascending, where there are any, each once and allowed."""
        if not positions.size:
            raise DataError(f"{printable(file)}: lists no {what}; {_MEND}")
        listed, counts = np.unique(positions, return_counts=True)
        if (counts > 1).any():
            name = printable(self.ids[listed[counts > 1][0]])
            raise DataError(f"{printable(file)}: lists {name} twice; keep it once")
        if (wrong := np.setdiff1d(listed, allowed)).size:
            first = wrong[0]
            kind = "anomaly" if self.labels[first] == ANOMALY else "normal"
            is_a = f"{printable(self.ids[first])} is a {self.splits[first]} {kind}"
            rule = f"the list is of {what} to search with ({wrong.size} of {listed.size} are not)"
            raise DataError(f"{printable(file)}: {is_a}, but {rule}; {_MEND}")
        return listed
