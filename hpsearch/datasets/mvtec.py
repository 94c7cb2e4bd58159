"""A folder in the layout of MVTec AD.

    <folder>/train/good/**/*       normal images to train with
    <folder>/test/good/**/*        normal images for the final figure
    <folder>/test/<type>/**/*      anomalies, one folder a type
    <folder>/ground_truth/<type>/**/<name>_mask.png

A type is the first folder below a split, however deep its images lie; `good` may be written in any
case. Which files are images is the rule of `hpsearch.datasets.image_folders`. MVTec AD has no
folders beside `good` under `train`; where there are some, they hold anomalies to search with.
"""

from pathlib import Path

import pandas as pd

from hpsearch.datasets.image_folders import (
    files_in,
    files_outside,
    folders_in,
    passed_over_notes,
    reading,
)
from hpsearch.datasets.table import ANOMALY, COLUMNS, NORMAL, SPLITS, Dataset
from hpsearch.errors import DataError
from hpsearch.files import printable

GOOD = "good"


def is_good(folder: Path) -> bool:
    """Whether a folder is that of the normal images, by its name in any case."""
    return folder.name.lower() == GOOD


def load_mvtec(folder: Path) -> Dataset:
    """The dataset of `folder`; a file's path below it is its id and its group.

    Raises:
        DataError: the folder has no images under `train/good`, or cannot be read.
    """
    folder = folder.resolve()
    with reading(folder):
        kinds = [(split, kind) for split in SPLITS for kind in folders_in(folder / split)]
        found = [(split, kind, files_in(kind)) for split, kind in kinds]
        outside = files_outside(folder, [kind for _, kind in kinds])
    rows = [
        _row(folder, split, kind, file) for split, kind, files in found for file in files.images
    ]
    if not any(row[2] == NORMAL and row[5] == "train" for row in rows):
        raise DataError(f"{printable(folder)}: has no images in train/{GOOD}; {_hint(folder)}")
    masks = {folder / str(row[6]) for row in rows if row[6]}
    passed_over = [file for file in outside if file.path not in masks]
    passed_over += [file for _, _, files in found for file in files.passed_over]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    notes = passed_over_notes(folder, passed_over)
    return Dataset(folder.name, table, root=folder, notes=notes)


def _row(folder: Path, split: str, kind: Path, file: Path) -> tuple[str | int, ...]:
    normal = is_good(kind)
    path = file.relative_to(folder).as_posix()
    below = file.relative_to(kind)
    mask = folder / "ground_truth" / kind.name / below.with_name(f"{file.stem}_mask.png")
    has_mask = not normal and mask.is_file()
    return (
        path,
        path,
        NORMAL if normal else ANOMALY,
        "" if normal else kind.name,
        path,
        split,
        mask.relative_to(folder).as_posix() if has_mask else "",
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
