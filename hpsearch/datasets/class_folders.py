"""A folder of classes, one of which is normal; every other class is a type of anomaly.

    <folder>/train/<class>/**/*       to search with
    <folder>/test/<class>/**/*        for the final figure

A class is the first folder below a split, however deep its images lie; which files are images is
the rule of `hpsearch.datasets.mvtec`. The layout is told from that of MVTec AD
(`hpsearch.datasets.mvtec`) by its `train`, which has folders and none called `good`, in any case. A
class may lie in `test` alone.
"""

from pathlib import Path

import pandas as pd

from hpsearch.datasets.mvtec import (
    files_in,
    files_outside,
    folders_in,
    is_good,
    passed_over_notes,
    reading,
)
from hpsearch.datasets.table import SPLITS, Dataset, class_table
from hpsearch.errors import DataError, SpecError
from hpsearch.io.files import printable

LISTED = 20  # classes that a message names


def is_class_folders(folder: Path) -> bool:
    """Whether `folder` holds classes: folders in its `train`, and none called `good`.

    Raises:
        DataError: it cannot be read.
    """
    with reading(folder):
        classes = folders_in(folder / "train")
    return bool(classes) and not any(map(is_good, classes))


def load_class_folders(folder: Path, normal_class: str | None = None) -> Dataset:
    """The dataset of `folder`; a file's path below it is its id and its group.

    Args:
        folder: as `is_class_folders` has it.
        normal_class: the normal class; None where `train` has only one.

    Raises:
        SpecError: there is no such class in `train`, or none is named and there are several.
        DataError: a split has no images, or the folder cannot be read.
    """
    folder = folder.resolve()
    images, notes = class_images(folder)
    normal = _normal_class(folder, images, normal_class)
    table = class_table(
        images["path"].tolist(),
        images["class"],
        images["split"],
        normal=normal,
        paths=images["path"].tolist(),
    )
    return Dataset(folder.name, table, root=folder, notes=notes)


def class_images(folder: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Every image with its `path` below `folder`, its `class` and its `split`; and notes on others.

    Raises:
        DataError: a split has none, or the folder cannot be read.
    """
    with reading(folder):
        classes = [(split, kind) for split in SPLITS for kind in folders_in(folder / split)]
        found = [(split, kind, files_in(kind)) for split, kind in classes]
        passed_over = files_outside(folder, [kind for _, kind in classes])
    passed_over += [file for _, _, files in found for file in files.passed_over]
    rows = [
        (file.relative_to(folder).as_posix(), kind.name, split)
        for split, kind, files in found
        for file in files.images
    ]
    images = pd.DataFrame(rows, columns=["path", "class", "split"])
    for split in SPLITS:
        if not (images["split"] == split).any():
            what = f"has no images in {split}/<class>"
            mend = "give a folder with train/<class> and test/<class>, or a CSV manifest"
            raise DataError(f"{printable(folder)}: {what}; {mend}")
    return images, passed_over_notes(folder, passed_over)


def _normal_class(folder: Path, images: pd.DataFrame, named: str | None) -> str:
    classes: list[str] = sorted(set(images.loc[images["split"] == "train", "class"]))
    if named is None and len(classes) == 1:
        return classes[0]
    if named is not None and named in classes:
        return named
    more = f" and {len(classes) - LISTED} more" if len(classes) > LISTED else ""
    mend = f"give one of {printable(', '.join(classes[:LISTED]))}{more}"
    if named is None:
        what = f"holds {len(classes)} classes, and none is named as the normal one"
        raise SpecError(f"{printable(folder)}: {what}; {mend} with --normal-class")
    raise SpecError(
        f"--normal-class {printable(named)} is no class in {printable(folder / 'train')}; {mend}"
    )
