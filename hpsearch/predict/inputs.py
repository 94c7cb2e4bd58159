"""Which images to score: files, folders and manifests, in an order that does not change."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hpsearch.errors import DataError
from hpsearch.files import printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm")
COLUMN = "image_path"


@dataclass(frozen=True)
class Input:
    """An image to score."""

    image_id: str  # unique
    path: Path


def find_images(paths: Sequence[Path]) -> list[Input]:
    """Every image that `paths` name, each once.

    A folder stands for the images anywhere below it, by name, and a CSV file for its column
    `image_path`, relative to the CSV. An image's id is its path in the folder or in the CSV where
    one of these is given alone, else its path as given.

    Raises:
        DataError: a path does not exist, a manifest has no such column, or there are no images.
    """
    alone = len(paths) == 1
    found = {image.image_id: image for path in paths for image in _found(path, alone=alone)}
    if not found:
        named = ", ".join(map(str, paths))
        raise DataError(
            printable(
                f"{named:.200}: no images there; give files {', '.join(SUFFIXES)}, a folder "
                f"of them, or a CSV with a column {COLUMN}"
            )
        )
    return list(found.values())


def _found(path: Path, *, alone: bool) -> Iterator[Input]:
    if path.is_dir():
        below = ((file.relative_to(path).as_posix(), file) for file in _images_below(path))
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


def _images_below(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in files if not path.is_dir())


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
