"""Copies of the NIH's X-rays at 300 px, from which every preprocessing is then made.

The originals have 1024 x 1024 px, 42 GB in all, and come as loose files or in tar archives. The
paper reduces them to 300 x 300 px first of all; that is done once, into the cache.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import joblib
from PIL import Image

from hpsearch.datasets.reading import read_image
from hpsearch.errors import DataError
from hpsearch.io.cache import check_disk_space, sole_writer
from hpsearch.io.files import atomic_path
from hpsearch.io.processes import Progress, in_order
from hpsearch.io.text import printable

NIH_SIDE = 300  # pixels
FOLDERS = ("images", "images_*/images", "images_*")
ARCHIVES = ("images*.tar.gz", "images*.tar")
MAX_MEMBER = 64 * 1024**2  # bytes; an original has less than one MB

_IMAGES_A_JOB = 16  # about 7 MB on the way to a worker

Source = tuple[Path, bytes | None]
"""An image file, or the place and the content of an archive's member."""


def nih_copies(root: Path, names: set[str], *, cache_dir: Path, progress: Progress) -> Path:
    """The folder that holds, under its name, a grey PNG of `NIH_SIDE` px of each image in `names`.

    What is there already is not made again, so that a run that was killed goes on where it was.
    A copy is not renewed when its original changes: delete the folder for that.

    Args:
        root: holds the images in one of `FOLDERS` or in `ARCHIVES`, which are not unpacked.
        names: file names without folders.
        cache_dir: the copies take some 60 kB an image there.
        progress: told of every few images.

    Raises:
        DataError: an image is missing or damaged, or an archive is, or the cache has no room.
    """
    folder = (
        cache_dir / f"nih-{NIH_SIDE}px" / hashlib.sha256(bytes(root.resolve())).hexdigest()[:16]
    )
    if not names <= _stored(folder):
        with sole_writer(folder):
            folder.mkdir(exist_ok=True)
            for leftover in folder.glob(".tmp-*"):
                leftover.unlink()
            to_make = names - _stored(folder)
            check_disk_space(
                folder, len(to_make) * NIH_SIDE**2
            )  # a PNG is hardly larger than its pixels
            _store_all(root, to_make, folder, progress)
    missing = names - _stored(folder)
    if missing:
        what = f"{len(missing)} of {len(names)} images are missing ({printable(min(missing))})"
        remedy = f"put all archives images_*.tar.gz there, or the files in {FOLDERS[0]}/"
        raise DataError(f"{printable(root)}: {what}; {remedy}")
    return folder


def _stored(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


class _Job(NamedTuple):
    """Images to reduce."""

    sources: list[Source]
    folder: Path

    def __str__(self) -> str:
        return f"{printable(self.sources[0][0])} and {len(self.sources) - 1} more"


def _store_all(root: Path, names: set[str], folder: Path, progress: Progress) -> None:
    bad: list[str] = []
    sources = _sources(root, set(names), bad)
    jobs = (_Job(some, folder) for some in iter(lambda: list(islice(sources, _IMAGES_A_JOB)), []))
    done = 0
    for messages in in_order(_store, jobs, workers=joblib.cpu_count()):
        bad += [message for message in messages if message]
        done += len(messages)
        progress(f"reducing to {NIH_SIDE} px", done, len(names))
    if bad:
        more = f" (and {len(bad) - 1} more such files)" if len(bad) > 1 else ""
        raise DataError(f"{bad[0]}{more}")


def _store(job: _Job) -> list[str]:
    """What is wrong with each image, "" where its copy was made."""
    messages = []
    for path, content in job.sources:
        try:
            image = read_image(path, content=content).convert("L")
        except DataError as error:
            messages.append(str(error))
            continue
        copy = image.resize((NIH_SIDE, NIH_SIDE), Image.Resampling.BILINEAR)
        with atomic_path(job.folder / path.name) as temporary:
            copy.save(temporary, format="PNG")
        messages.append("")
    return messages


def _sources(root: Path, wanted: set[str], bad: list[str]) -> Iterator[Source]:
    """Each wanted image that is there, once; loose files go before archives.

    What is wrong with an archive is added to `bad`, for the others are read all the same.
    """
    for pattern in FOLDERS:
        for directory in sorted(path for path in root.glob(pattern) if path.is_dir()):
            for path in directory.iterdir():
                if path.name in wanted:
                    wanted.remove(path.name)
                    yield path, None
    for pattern in ARCHIVES:
        for archive in sorted(root.glob(pattern)):
            if wanted:
                yield from _members(archive, wanted, bad)


def _members(archive: Path, wanted: set[str], bad: list[str]) -> Iterator[Source]:
    """Wanted members, by the last part of their names; nothing is written to the disk."""
    try:
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name in wanted and member.isreg() and member.size <= MAX_MEMBER:
                    wanted.remove(name)
                    file = tar.extractfile(member)
                    assert file is not None  # it is a regular file
                    yield archive / name, file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        what = f"is damaged ({printable(error)})"
        bad.append(f"{printable(archive)}: {what}; download it again")
