"""A folder in the layout of MVTec AD.

    <folder>/train/good/*.png      normal images to train with
    <folder>/test/good/*.png       normal images for the final figure
    <folder>/test/<type>/*.png     anomalies, one folder a type
    <folder>/ground_truth/<type>/<name>_mask.png

MVTec AD has no folders beside `good` under `train`; where there are some, they hold anomalies to
search with.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from hpsearch.datasets.image_folders import folders_in, images_in, reading
from hpsearch.datasets.table import ANOMALY, COLUMNS, NORMAL, SPLITS, Dataset
from hpsearch.errors import DataError
from hpsearch.files import printable

GOOD = "good"


def load_mvtec(folder: Path) -> Dataset:
    """The dataset of `folder`; a file's path below it is its id and its group.

    Raises:
        DataError: the folder has no images under `train/good`, or cannot be read.
    """
    folder = folder.resolve()
    with reading(folder):
        rows = [row for split in SPLITS for row in _split_rows(folder, split)]
    if not any(row[2] == NORMAL and row[5] == "train" for row in rows):
        raise DataError(f"{printable(folder)}: has no images in train/{GOOD}; {_hint(folder)}")
    return Dataset(folder.name, pd.DataFrame(rows, columns=list(COLUMNS)), root=folder)


def _split_rows(folder: Path, split: str) -> Iterator[tuple[str | int, ...]]:
    for kind in folders_in(folder / split):
        normal = kind.name == GOOD
        for file in images_in(kind):
            path = file.relative_to(folder).as_posix()
            mask = folder / "ground_truth" / kind.name / f"{file.stem}_mask.png"
            yield (
                path,
                path,
                NORMAL if normal else ANOMALY,
                "" if normal else kind.name,
                path,
                split,
                mask.relative_to(folder).as_posix() if not normal and mask.is_file() else "",
            )


def _hint(folder: Path) -> str:
    if (folder / "manifest.csv").is_file():
        return f"to read its manifest, give {printable(folder / 'manifest.csv')}"
    inside = sorted(entry.name for entry in folder.iterdir() if (entry / "train").is_dir())
    if inside:
        return f"give one of its folders ({printable(', '.join(inside[:20]))})"
    return (
        f"give a folder with train/{GOOD}, test/{GOOD} and test/<type>, or one with train/<class> "
        "and test/<class>, or a CSV manifest"
    )
