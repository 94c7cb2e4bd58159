"""A folder in the layout of MVTec AD.

    <folder>/train/good/**/*       normal images to train with
    <folder>/test/good/**/*        normal images for the final figure
    <folder>/test/<type>/**/*      anomalies, one folder a type
    <folder>/ground_truth/<type>/**/<name>_mask.png

A type is the first folder below a split, however deep its images lie; `good` may be written in any
case. Which files are images is the rule of `hpsearch.datasets.mvtec`. MVTec AD has no
folders beside `good` under `train`; where there are some, they hold anomalies to search with.

Which files of a folder are images: one rule for every folder that is read.

Folders are looked into however deep. A file is an image by its suffix, else by how it begins; what
is hidden, lies in a folder of masks or of an archive, or is no image, is passed over and named.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hpsearch.datasets.reading import is_image
from hpsearch.datasets.table import ANOMALY, COLUMNS, NORMAL, SPLITS, Dataset
from hpsearch.errors import DataError
from hpsearch.io.files import printable

_PILLOW_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".tif", ".tiff", ".webp"),
    *(".gif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".pbm", ".pgm", ".ppm", ".pnm"),
    ".pfm",
)
SUFFIXES = frozenset((*_PILLOW_SUFFIXES, ".dcm", ".dicom", ".ima"))
NO_IMAGES = frozenset({"ground_truth", "gt", "mask", "masks", "xyz", "__macosx"})
"""Folders of masks, of depths, and of what an archive adds, in any case."""

LISTED = 3  # files that are passed over, by name
_INDEX = "DICOMDIR"  # which files a DICOM medium holds


@dataclass(frozen=True)
class PassedOver:
    """A file that is not read, and what kind of thing it is."""

    path: Path
    kind: str


@dataclass(frozen=True)
class FolderFiles:
    """The files anywhere below a folder, by name."""

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
    kinds = Counter(found.kind for found in passed_over)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(10))
    named = ", ".join(str(found.path.relative_to(folder)) for found in passed_over[:LISTED])
    n_more = len(passed_over) - LISTED
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
    if path.suffix.lower() in SUFFIXES or (name != _INDEX and is_image(path)):
        return None
    return path.suffix.lower() or "without suffix"


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
