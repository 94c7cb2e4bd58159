import shutil
from pathlib import Path

import pytest
from PIL import Image

from hpsearch.datasets.folders import is_class_folders, load_mvtec
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
def bottle(tmp_path: Path) -> Path:
    category = tmp_path / "bottle"
    for name in FILES + IGNORED:
        (category / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".txt"):
            (category / name).write_text("notes")
        else:
            Image.new("RGB", (8, 8)).save(category / name, format="PNG")
    return category


def test_layout(bottle: Path) -> None:
    dataset = load_mvtec(bottle)
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
    bottle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bottle)
    dataset = load_mvtec(Path("."))
    monkeypatch.chdir(bottle.parent)
    assert dataset.name == "bottle"
    assert dataset.open(0).size == (8, 8)


def test_anomalies_under_train_are_searched_with(bottle: Path) -> None:
    shutil.copytree(bottle / "test/crack", bottle / "train/crack")
    table = load_mvtec(bottle).table
    assert len(table[(table["split"] == "train") & (table["anomaly_type"] == "crack")]) == 2


def test_what_is_not_used_is_named(bottle: Path) -> None:
    (note,) = load_mvtec(bottle).notes
    assert note.startswith("bottle: 4 files are passed over: 2 outside of the classes, ")
    for part in ("1 .txt", "1 hidden", "other/good/000.png"):
        assert part in note


def test_images_below_sub_folders_are_of_the_first_folders_type(bottle: Path) -> None:
    for name in ("train/good/cam1/0.png", "test/crack/cam1/x/1.webp", "test/crack/x.png/2.png"):
        (bottle / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(bottle / name, format="PNG")
    mask = bottle / "ground_truth/crack/cam1/x/1_mask.png"
    mask.parent.mkdir(parents=True)
    Image.new("L", (8, 8)).save(mask)
    table = load_mvtec(bottle).table.set_index("image_id")
    assert table.loc["train/good/cam1/0.png", "label"] == 0
    assert table.loc["test/crack/x.png/2.png", "anomaly_type"] == "crack"
    nested = table.loc["test/crack/cam1/x/1.webp"]
    assert nested["anomaly_type"] == "crack"
    assert nested["group"] == "test/crack/cam1/x/1.webp"
    assert nested["mask_path"] == "ground_truth/crack/cam1/x/1_mask.png"


def test_as_sets_with_depth_have_it(bottle: Path) -> None:
    for name in ("rgb/0.png", "xyz/0.tiff", "gt/0.png"):
        (bottle / "test/dent" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(bottle / "test/dent" / name)
    dataset = load_mvtec(bottle)
    of_type = dataset.table[dataset.table["anomaly_type"] == "dent"]
    assert of_type["path"].tolist() == ["test/dent/rgb/0.png"]
    assert "1 in gt/" in dataset.notes[0]
    assert "1 in xyz/" in dataset.notes[0]


def test_good_in_any_case_is_normal(bottle: Path) -> None:
    (bottle / "test/good").rename(bottle / "test/GOOD")
    (bottle / "train/good").rename(bottle / "train/Good")
    assert not is_class_folders(bottle)
    table = load_mvtec(bottle).table
    assert table.loc[table["path"].str.contains("(?i)good"), "label"].tolist() == [0, 0, 0]


def test_hints(bottle: Path) -> None:
    with pytest.raises(DataError, match=r"no images in train/good; give one of .* \(bottle\)"):
        load_mvtec(bottle.parent)
    (bottle.parent / "manifest.csv").touch()
    with pytest.raises(DataError, match=r"to read its manifest, give .*/manifest\.csv"):
        load_mvtec(bottle.parent)
    with pytest.raises(DataError, match="give a folder with train/good"):
        load_mvtec(bottle / "test")
