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

from hpsearch.datasets.table import ANOMALY, COLUMNS, NORMAL, SPLITS, Dataset
from hpsearch.errors import DataError
from hpsearch.files import printable

GOOD = "good"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def load_mvtec(folder: Path) -> Dataset:
    """The dataset of `folder`; a file's path below it is its id and its group.

    Raises:
        DataError: the folder has no images under `train/good`, or cannot be read.
    """
    folder = folder.resolve()
    try:
        rows = [row for split in SPLITS for row in _split_rows(folder, split)]
    except OSError as error:
        what = f"{printable(error.filename)} cannot be read ({error.strerror})"
        raise DataError(f"{printable(folder)}: {what}; mend its permissions") from error
    if not any(row[2] == NORMAL and row[5] == "train" for row in rows):
        raise DataError(f"{printable(folder)}: has no images in train/{GOOD}; {_hint(folder)}")
    return Dataset(folder.name, pd.DataFrame(rows, columns=list(COLUMNS)), root=folder)


def _split_rows(folder: Path, split: str) -> Iterator[tuple[str | int, ...]]:
    if not (folder / split).is_dir():
        return
    for kind in sorted(entry for entry in (folder / split).iterdir() if entry.is_dir()):
        normal = kind.name == GOOD
        for file in sorted(kind.iterdir()):
            if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
                continue
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
    inside = sorted(entry.name for entry in folder.iterdir() if (entry / "train" / GOOD).is_dir())
    if inside:
        return f"give one of its folders ({printable(', '.join(inside[:20]))})"
    return f"give a folder with train/{GOOD}, test/{GOOD} and test/<type>, or a CSV manifest"
