import shutil
from pathlib import Path

import pytest
from PIL import Image

from hpsearch.datasets.mvtec import load_mvtec
from hpsearch.errors import DataError

FILES = (
    "train/good/000.png",
    "train/good/001.PNG",
    "test/good/000.png",
    "test/crack/000.png",
    "test/crack/001.png",
    "test/hole/000.jpg",
    "ground_truth/crack/000_mask.png",
)
IGNORED = ("train/good/notes.txt", "train/good/._000.png", "readme.png", "other/good/000.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    category = tmp_path / "bottle"
    for name in FILES + IGNORED:
        (category / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(category / name, format="PNG")
    return category


def test_layout(folder: Path) -> None:
    dataset = load_mvtec(folder)
    columns = ["path", "label", "anomaly_type", "split", "mask_path"]
    assert dataset.name == "bottle"
    assert dataset.table[columns].to_numpy().tolist() == [
        ["train/good/000.png", 0, "", "train", ""],
        ["train/good/001.PNG", 0, "", "train", ""],
        ["test/crack/000.png", 1, "crack", "test", "ground_truth/crack/000_mask.png"],
        ["test/crack/001.png", 1, "crack", "test", ""],
        ["test/good/000.png", 0, "", "test", ""],
        ["test/hole/000.jpg", 1, "hole", "test", ""],
    ]
    assert list(dataset.table["image_id"]) == list(dataset.table["group"])
    assert dataset.open(5).size == (8, 8)


def test_relative_folder_survives_a_change_of_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    dataset = load_mvtec(Path("."))
    monkeypatch.chdir(folder.parent)
    assert dataset.name == "bottle"
    assert dataset.open(0).size == (8, 8)


def test_anomalies_under_train_are_searched_with(folder: Path) -> None:
    shutil.copytree(folder / "test/crack", folder / "train/crack")
    table = load_mvtec(folder).table
    assert len(table[(table["split"] == "train") & (table["anomaly_type"] == "crack")]) == 2


def test_directory_named_as_an_image_is_found_when_it_is_read(folder: Path) -> None:
    (folder / "train/good/x.png").mkdir()
    dataset = load_mvtec(folder)
    position = list(dataset.table["image_id"]).index("train/good/x.png")
    with pytest.raises(DataError, match=r"x\.png: is a directory"):
        dataset.open(position)


def test_hints(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no images in train/good; give one of .* \(bottle\)"):
        load_mvtec(folder.parent)
    (folder.parent / "manifest.csv").touch()
    with pytest.raises(DataError, match=r"to read its manifest, give .*/manifest\.csv"):
        load_mvtec(folder.parent)
    with pytest.raises(DataError, match="give a folder with train/good"):
        load_mvtec(folder / "test")
