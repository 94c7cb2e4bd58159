"""CIFAR-10 and SVHN through torchvision's own classes: downloaded once, checked by their hashes.

Or as others hand them on, image files in folders of classes, which have the sets' own names of the
classes or their aliases:

    <root>/train/<class>/**/*
    <root>/test/<class>/**/*
"""

import os
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpsearch.datasets.folders import class_images
from hpsearch.datasets.table import SPLITS, Dataset, Split, class_table
from hpsearch.errors import DataError, SpecError
from hpsearch.io.cache import sole_writer
from hpsearch.io.text import printable


@dataclass(frozen=True)
class TorchvisionSet:
    """What the adapter must know of one of torchvision's sets.

    Attributes:
        name: that it is asked for by.
        classes: as the paper names them, by label.
        aliases: other names of a class.
        payload: what lies in the root when it is downloaded.
        download_megabytes: that this takes.
        n_images: of both splits.
        n_first_class: of them of the first class.
    """

    name: str
    classes: tuple[str, ...]
    aliases: dict[str, str]
    payload: tuple[str, ...]
    download_megabytes: int
    n_images: int
    n_first_class: int

    def files(self, root: Path) -> list[Path]:
        """What torchvision reads below `root`."""
        return [root / entry for entry in self.payload]

    def on_disk(self, root: Path) -> bool:
        """Whether everything lies in `root`; its content is checked when it is read."""
        return all(entry.exists() for entry in self.files(root))


CIFAR10 = TorchvisionSet(
    "cifar10",
    ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    {"airplane": "plane", "automobile": "car"},
    ("cifar-10-batches-py",),
    download_megabytes=163,
    n_images=60000,
    n_first_class=6000,
)
SVHN = TorchvisionSet(
    "svhn",
    tuple("0123456789"),
    {},
    ("train_32x32.mat", "test_32x32.mat"),
    download_megabytes=235,
    n_images=99289,
    n_first_class=6692,
)


def torchvision_root(cache_dir: Path) -> Path:
    """Where the sets lie when the user names no root."""
    return cache_dir / "torchvision"


def load_torchvision(source: TorchvisionSet, normal_class: str | None, *, root: Path) -> Dataset:
    """One class (the first unless told) is normal, each other class a type of anomaly.

    Args:
        source: `CIFAR10` or `SVHN`.
        normal_class: name or number of the class.
        root: torchvision's root folder; downloaded there when it is not on the disk.

    Raises:
        SpecError: there is no such class.
        DataError: the set can neither be read from `root` nor downloaded.
    """
    normal = class_named(source, normal_class)
    if not source.on_disk(root):
        _download(source, root)
    images: list[NDArray[np.uint8]] = []
    tables = []
    try:
        for split in SPLITS:
            data = _open(source, root, split, download=False)
            if source is CIFAR10:
                images.append(data.data)
                labels = np.asarray(data.targets)
            else:
                images.append(data.data.transpose(0, 2, 3, 1))
                labels = data.labels
            ids = [f"{split}-{position:05d}" for position in range(len(labels))]
            classes = np.asarray(source.classes)[labels]
            tables.append(class_table(ids, classes, np.full(len(ids), split), normal=normal))
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        where = printable(", ".join(map(str, source.files(root))))
        what = f"{where} does not match torchvision's hashes"
        raise DataError(f"{source.name}: {what}; delete it to download it again") from error
    return Dataset(source.name, pd.concat(tables), arrays=np.concatenate(images))


def class_named(source: TorchvisionSet, text: str | None) -> str:
    """The class of that name, alias or number; the first for None.

    Raises:
        SpecError: there is no such class.
    """
    text = source.classes[0] if text is None else text.strip().lower()
    name = source.aliases.get(text, text)
    if name in source.classes:
        return name
    if name.isascii() and name.isdigit() and int(name) < len(source.classes):
        return source.classes[int(name)]
    what = f"--normal-class {printable(text)} is not in {source.name}"
    raise SpecError(f"{what}; give one of {', '.join(source.classes)}")


def _open(source: TorchvisionSet, root: Path, split: Split, *, download: bool) -> Any:
    # torchvision takes seconds to import; who only lists the datasets should not wait for it.
    from torchvision import datasets

    if source is CIFAR10:
        return datasets.CIFAR10(root, train=split == "train", download=download)
    return datasets.SVHN(root, split=split, download=download)


def _download(source: TorchvisionSet, root: Path) -> None:
    """Download into a folder beside, so that a broken download leaves nothing in `root`."""
    with sole_writer(root / source.name):
        if source.on_disk(root):
            return
        try:
            # The name is one that `sole_writer` sweeps after a kill.
            with TemporaryDirectory(dir=root, prefix=".tmp-", suffix=f"-{source.name}") as folder:
                for split in SPLITS:
                    _open(source, Path(folder), split, download=True)
                for entry in source.payload:
                    os.replace(Path(folder, entry), root / entry)
        except (OSError, RuntimeError, EOFError, HTTPException, TarError) as error:
            what = f"is not in {printable(root)} and cannot be downloaded ({printable(error)})"
            ways = (
                f"connect ({source.download_megabytes} MB), give torchvision's folder or one of "
                "train/<class> and test/<class> as --root, or take --dataset digits, which needs "
                "no download"
            )
            raise DataError(f"{source.name}: {what}; {ways}") from error


def load_torchvision_folders(
    source: TorchvisionSet, normal_class: str | None, *, root: Path
) -> Dataset:
    """One class (the first unless told) is normal, each other class a type of anomaly.

    The classes are called as in the set itself, whatever their folders are called.

    Args:
        source: `CIFAR10` or `SVHN`.
        normal_class: name or number of the class.
        root: the folder of `train` and `test`.

    Raises:
        SpecError: there is no such class.
        DataError: the folders are not those of the set's classes.
    """
    normal = class_named(source, normal_class)
    root = root.resolve()
    images, passed_over = class_images(root)
    images["class"] = images["class"].map(
        lambda folder: source.aliases.get(folder.lower(), folder.lower())
    )
    for split, classes in images.groupby("split")["class"].agg(set).items():
        other = sorted(classes.difference(source.classes))
        missing = sorted(set(source.classes) - classes)
        if other or missing:
            name = printable(root / str(split) / (other or missing)[0])
            what = f"{name} is {'no class of it' if other else 'a class without images'}"
            remedy = f"give a folder for each of {', '.join(source.classes)}"
            raise DataError(f"{source.name}: {what}; {remedy}")
    paths = images["path"].tolist()
    table = class_table(paths, images["class"], images["split"], normal=normal, paths=paths)
    note = (
        f"{source.name}: {len(images):,} images are read from {printable(root)}; their pixels are "
        "those of the files, which need not be those of torchvision's archive"
    )
    return Dataset(source.name, table, root=root, notes=(note, *passed_over))
