"""Folders of images: which files are images, and the two layouts that are read.

MVTec AD, where images without a defect lie in `good`, and every other folder is a type of anomaly:

    <folder>/train/good/**/*       normal images to train with
    <folder>/test/good/**/*        normal images for the final figure
    <folder>/test/<type>/**/*      anomalies, one folder a type
    <folder>/ground_truth/<type>/**/<name>_mask.png

`good` may be written in any case. MVTec AD has no folders beside it under `train`; where there are
some, they hold anomalies to search with.

Classes, one of which is normal, and every other is a type of anomaly:

    <folder>/train/<class>/**/*       to search with
    <folder>/test/<class>/**/*        for the final figure

Classes are told from MVTec AD by `train`, which has folders and none called `good`. A class may lie
in `test` alone.

In both a type or a class is the first folder below a split, however deep its images lie. A file is
an image by its suffix, else by how it begins; what is hidden, lies in a folder of masks or of an
archive, or is no image, is passed over and named.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hpsearch.datasets.reading import is_image
from hpsearch.datasets.table import (
    ANOMALY,
    IMAGE_COLUMNS,
    NORMAL,
    SPLITS,
    Dataset,
    Split,
    class_table,
)
from hpsearch.errors import DataError, SpecError
from hpsearch.io.text import printable

_PILLOW_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".tif", ".tiff", ".webp"),
    *(".gif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".pbm", ".pgm", ".ppm", ".pnm"),
    ".pfm",
)
IMAGE_SUFFIXES = frozenset((*_PILLOW_SUFFIXES, ".dcm", ".dicom", ".ima"))
NO_IMAGES = frozenset({"ground_truth", "gt", "mask", "masks", "xyz", "__macosx"})
"""Folders of masks, of depths, and of what an archive adds, in any case."""

GOOD = "good"

_INDEX = "DICOMDIR"  # which files a DICOM medium holds
_LISTED_FILES, _LISTED_CLASSES = 3, 20  # that a message names


@dataclass(frozen=True)
class PassedOver:
    """A file that is not read.

    Attributes:
        path: of the file.
        kind: what it is, in words.
    """

    path: Path
    kind: str


@dataclass(frozen=True)
class FolderFiles:
    """The files anywhere below a folder, by name.

    Attributes:
        images: that are read.
        passed_over: that are not.
    """

    images: tuple[Path, ...]
    passed_over: tuple[PassedOver, ...]


def files_in(folder: Path) -> FolderFiles:
    """What of a folder is read, and what is passed over; nothing where there is no folder."""
    images: list[Path] = []
    passed_over: list[PassedOver] = []
    for path in _files_below(folder):
        kind = _kind(path, folder)
        if kind is None:
            images.append(path)
        else:
            passed_over.append(PassedOver(path, kind))
    return FolderFiles(tuple(images), tuple(passed_over))


def images_in(folder: Path) -> list[Path]:
    """The images anywhere below a folder, by name; none where there is no folder."""
    return list(files_in(folder).images)


def folders_in(folder: Path) -> list[Path]:
    """The folders of a folder by name, without hidden ones; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def files_outside(folder: Path, inside: Sequence[Path]) -> list[PassedOver]:
    """The files below `folder` that lie in none of the folders `inside`, images among them."""
    within = frozenset(inside)
    return [
        PassedOver(path, _kind(path, folder) or "outside of the classes")
        for path in _files_below(folder, without=within)
    ]


def passed_over_notes(folder: Path, passed_over: Sequence[PassedOver]) -> tuple[str, ...]:
    """One line for the user: how many files, of which kinds, the first by name; or none."""
    if not passed_over:
        return ()
    kinds = Counter(file.kind for file in passed_over)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(10))
    named = ", ".join(str(file.path.relative_to(folder)) for file in passed_over[:_LISTED_FILES])
    n_more = len(passed_over) - _LISTED_FILES
    more = f" and {n_more:,} more" if n_more > 0 else ""
    files = "file is" if len(passed_over) == 1 else "files are"
    return (
        printable(
            f"{folder.name}: {len(passed_over):,} {files} passed over: {counted} ({named}{more})"
        ),
    )


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Look into folders below `folder`.

    Raises:
        DataError: the block could not read one.
    """
    try:
        yield
    except OSError as error:
        what = f"{printable(error.filename)} cannot be read ({error.strerror})"
        raise DataError(f"{printable(folder)}: {what}; mend its permissions") from error


def load_mvtec(folder: Path) -> Dataset:
    """The dataset of a folder in the layout of MVTec AD; a file's path below it is id and group.

    Raises:
        DataError: the folder has no images under `train/good`, or cannot be read.
    """
    folder = folder.resolve()
    images, passed_over = _images_by_kind(folder)
    rows: list[tuple[str | int, ...]] = []
    masks: set[Path] = set()
    for split, kind, file in images:
        path = file.relative_to(folder).as_posix()
        if _is_good(kind):
            rows.append((path, path, NORMAL, "", path, split, ""))
            continue
        below = file.relative_to(kind).with_name(f"{file.stem}_mask.png")
        mask = folder / "ground_truth" / kind.name / below
        mask_path = ""
        if mask.is_file():
            masks.add(mask)
            mask_path = mask.relative_to(folder).as_posix()
        rows.append((path, path, ANOMALY, kind.name, path, split, mask_path))
    if not any(row[2] == NORMAL and row[5] == "train" for row in rows):
        raise DataError(f"{printable(folder)}: has no images in train/{GOOD}; {_layout(folder)}")
    notes = passed_over_notes(folder, [file for file in passed_over if file.path not in masks])
    table = pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))
    return Dataset(folder.name, table, root=folder, notes=notes)


def is_class_folders(folder: Path) -> bool:
    """Whether `folder` holds classes: folders in its `train`, and none called `good`.

    Raises:
        DataError: it cannot be read.
    """
    with reading(folder):
        classes = folders_in(folder / "train")
    return bool(classes) and not any(map(_is_good, classes))


def load_class_folders(folder: Path, normal_class: str | None = None) -> Dataset:
    """The dataset of a folder of classes; a file's path below it is its id and its group.

    Args:
        folder: as `is_class_folders` has it.
        normal_class: the normal class; None where `train` has only one.

    Raises:
        SpecError: there is no such class in `train`, or none is named and there are several.
        DataError: a split has no images, or the folder cannot be read.
    """
    folder = folder.resolve()
    images, notes = class_images(folder)
    classes: list[str] = sorted(set(images.loc[images["split"] == "train", "class"]))
    more = len(classes) - _LISTED_CLASSES
    listed = printable(", ".join(classes[:_LISTED_CLASSES])) + (f" and {more} more" * (more > 0))
    if normal_class is None and len(classes) == 1:
        normal_class = classes[0]
    elif normal_class is None:
        what = f"holds {len(classes)} classes, and none is named as the normal one"
        raise SpecError(f"{printable(folder)}: {what}; give one of {listed} with --normal-class")
    elif normal_class not in classes:
        what = f"--normal-class {printable(normal_class)} is no class"
        raise SpecError(f"{what} in {printable(folder / 'train')}; give one of {listed}")
    paths = images["path"].tolist()
    table = class_table(paths, images["class"], images["split"], normal=normal_class, paths=paths)
    return Dataset(folder.name, table, root=folder, notes=notes)


def class_images(folder: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Every image with its `path` below `folder`, its `class` and its `split`; and notes on others.

    Raises:
        DataError: a split has none, or the folder cannot be read.
    """
    files, passed_over = _images_by_kind(folder)
    rows = [(file.relative_to(folder).as_posix(), kind.name, split) for split, kind, file in files]
    images = pd.DataFrame(rows, columns=["path", "class", "split"])
    for split in SPLITS:
        if not (images["split"] == split).any():
            what = f"has no images in {split}/<class>"
            remedy = "give a folder with train/<class> and test/<class>, or a CSV manifest"
            raise DataError(f"{printable(folder)}: {what}; {remedy}")
    return images, passed_over_notes(folder, passed_over)


def _images_by_kind(folder: Path) -> tuple[list[tuple[Split, Path, Path]], list[PassedOver]]:
    """Each image with its split and its type's or class's folder; and the files that are none."""
    with reading(folder):
        kinds = [(split, kind) for split in SPLITS for kind in folders_in(folder / split)]
        files = [(split, kind, files_in(kind)) for split, kind in kinds]
        passed_over = files_outside(folder, [kind for _, kind in kinds])
    images = [(split, kind, file) for split, kind, inside in files for file in inside.images]
    return images, passed_over + [file for _, _, inside in files for file in inside.passed_over]


def _is_good(folder: Path) -> bool:
    """Whether a folder is that of the normal images."""
    return folder.name.lower() == GOOD


def _layout(folder: Path) -> str:
    """What to give instead of a folder that is not in the layout of MVTec AD."""
    if (folder / "manifest.csv").is_file():
        return f"to read its manifest, give {printable(folder / 'manifest.csv')}"
    inside = sorted(entry.name for entry in folder.iterdir() if (entry / "train").is_dir())
    if inside:
        return f"give one of its folders ({printable(', '.join(inside[:20]))})"
    return (
        f"give a folder with train/{GOOD}, test/{GOOD} and test/<type>, or one with train/<class> "
        "and test/<class>, or a CSV manifest"
    )


def _files_below(folder: Path, without: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Everything but folders, by name; links to folders are followed, but not in a circle."""
    if folder.is_dir():
        yield from _walk(folder, frozenset(), without)


def _walk(folder: Path, above: frozenset[Path], without: frozenset[Path]) -> Iterator[Path]:
    here = folder.resolve()
    if here in above:
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            if entry not in without:
                yield from _walk(entry, above | {here}, without)
        else:
            yield entry


def _kind(path: Path, folder: Path) -> str | None:
    """What a file below `folder` is, None where it is an image."""
    *parents, name = path.relative_to(folder).parts
    if name.startswith(".") or any(parent.startswith(".") for parent in parents):
        return "hidden"
    for parent in parents:
        if parent.lower() in NO_IMAGES:
            return f"in {parent}/"
    if path.suffix.lower() in IMAGE_SUFFIXES or (name != _INDEX and is_image(path)):
        return None
    return path.suffix.lower() or "without suffix"
