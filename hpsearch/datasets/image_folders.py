"""Images in folders whose names say what they show, as MVTec AD and sets of classes have them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpsearch.errors import DataError
from hpsearch.files import printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder by name, without hidden ones; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )


def folders_in(folder: Path) -> list[Path]:
    """The folders of a folder by name, without hidden ones; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
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
