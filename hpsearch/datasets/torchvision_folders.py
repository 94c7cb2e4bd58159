"""CIFAR-10 and SVHN as others hand them on: image files in folders of classes.

    <root>/train/<class>/**/*
    <root>/test/<class>/**/*

with the classes' names of `hpsearch.datasets.torchvision_sets` or their aliases.
"""

from pathlib import Path

from hpsearch.datasets.class_folders import class_images
from hpsearch.datasets.class_table import class_table
from hpsearch.datasets.table import Dataset
from hpsearch.datasets.torchvision_sets import TorchvisionSet, class_named
from hpsearch.errors import DataError
from hpsearch.files import printable


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
        _check_classes(source, root / str(split), classes)
    paths = images["path"].tolist()
    table = class_table(paths, images["class"], images["split"], normal=normal, paths=paths)
    note = (
        f"{source.name}: {len(images):,} images are read from {printable(root)}; their pixels are "
        "those of the files, which need not be those of torchvision's archive"
    )
    return Dataset(source.name, table, root=root, notes=(note, *passed_over))


def _check_classes(source: TorchvisionSet, folder: Path, found: set[str]) -> None:
    other = sorted(found.difference(source.classes)) or sorted(set(source.classes) - found)
    if other:
        kind = "no class of it" if other[0] in found else "a class without images"
        what = f"{source.name}: {printable(folder / other[0])} is {kind}"
        raise DataError(f"{what}; give a folder for each of {', '.join(source.classes)}")
