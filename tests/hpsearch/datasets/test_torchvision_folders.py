import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from hpsearch.datasets.pixels import Preprocessing, load_pixels
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.datasets.table import Dataset
from hpsearch.datasets.torchvision_sets import CIFAR10, SVHN
from hpsearch.errors import DataError, SpecError

FOLDERS = {"plane": "airplane", "car": "Automobile"}  # as others call them
COUNTS = {"train": 3, "test": 2}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, count in COUNTS.items():
        for number, name in enumerate(CIFAR10.classes):
            folder = tmp_path / "images" / split / FOLDERS.get(name, name)
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (32, 32), (number, i, 0)).save(folder / f"{i:04}.png")
    return tmp_path / "images"


def load(root: Path, normal_class: str | None = None) -> Dataset:
    request = DatasetRequest("cifar10", root=root, normal_class=normal_class)
    return load_dataset(request, cache_dir=root.parent / "cache")


@pytest.mark.parametrize("named", ["car", "automobile", "1"])
def test_classes_are_called_as_in_the_set(root: Path, named: str) -> None:
    dataset = load(root, named)
    table = dataset.table
    assert dataset.name == "cifar10"
    assert table.groupby(["split", "label"]).size().to_dict() == {
        ("train", 0): 3,
        ("train", 1): 27,
        ("test", 0): 2,
        ("test", 1): 18,
    }
    assert set(table["anomaly_type"]) == {"", *CIFAR10.classes} - {"car"}
    assert table.loc[table["path"] == "test/airplane/0001.png", "anomaly_type"].item() == "plane"
    (note,) = dataset.notes
    assert note.startswith(f"cifar10: 50 images are read from {root}; their pixels are those of")


def test_pixels_are_those_of_the_files(root: Path, tmp_path: Path) -> None:
    dataset = load(root)
    pixels = load_pixels(dataset, Preprocessing(32), cache_dir=tmp_path / "cache")
    for position, path in enumerate(dataset.table["path"]):
        _, folder, file = path.split("/")
        name = {alias: name for name, alias in FOLDERS.items()}.get(folder, folder)
        expected = (CIFAR10.classes.index(name), int(file[:4]), 0)
        assert (pixels[position] == expected).all()


def test_torchvisions_own_files_go_first(root: Path) -> None:
    (root / CIFAR10.payload[0]).mkdir()
    with pytest.raises(DataError, match="does not match torchvision's hashes"):
        load(root)


def test_svhn_too(tmp_path: Path) -> None:
    for split in COUNTS:
        for name in SVHN.classes:
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(tmp_path / split / name / "a.png")
    request = DatasetRequest("svhn", root=tmp_path, normal_class="7")
    assert load_dataset(request, cache_dir=tmp_path).table["label"].sum() == 18


@pytest.mark.parametrize(
    ("folder", "to", "what"),
    [
        ("train/bird", "train/wren", "train/wren is no class of it; give a folder for each of"),
        ("test/bird", None, "test/bird is a class without images; give a folder for each of"),
        ("test", None, "has no images in test/<class>"),
    ],
)
def test_folders_of_something_else(root: Path, folder: str, to: str | None, what: str) -> None:
    if to:
        (root / folder).rename(root / to)
    else:
        shutil.rmtree(root / folder)
    with pytest.raises(DataError, match=what):
        load(root)


def test_unknown_class(root: Path) -> None:
    with pytest.raises(SpecError, match="--normal-class lion is not in cifar10; give one of plane"):
        load(root, "lion")


@pytest.mark.shared_data
def test_the_folders_that_others_hand_on(shared_data: Path, tmp_path: Path) -> None:
    with tarfile.open(shared_data / "cifar10_jpeg.tar.gz") as archive:
        for member in archive:
            if member.name.endswith(("0000.jpg", "0999.jpg")):
                archive.extract(member, tmp_path, filter="data")
    dataset = load(tmp_path / "cifar10_jpeg", "ship")
    kinds = dataset.table["anomaly_type"].replace("", "ship")
    counts = dataset.table.groupby([dataset.table["split"], kinds]).size()
    assert counts.to_dict() == {(split, n): 2 for split in COUNTS for n in CIFAR10.classes}
    pixels = load_pixels(dataset, Preprocessing(32), cache_dir=tmp_path / "cache")
    assert pixels.shape == (40, 32, 32, 3)
