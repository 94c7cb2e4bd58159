from pathlib import Path

import pytest
from PIL import Image

from hpsearch.datasets.folders import is_class_folders, load_class_folders
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.errors import DataError, SpecError

FILES = (
    "train/cat/0.png",
    "train/cat/1.PNG",
    "train/dog/0.jpg",
    "test/cat/0.png",
    "test/bird/0.png",
    "test/bird/1.png",
)
IGNORED = ("train/cat/notes.txt", "train/cat/._0.png", "train/.cache/0.png", "train/0.png")


def fill(folder: Path, files: tuple[str, ...]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".txt"):
            (folder / name).write_text("notes")
        else:
            Image.new("RGB", (8, 8)).save(folder / name, format="PNG")
    return folder


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return fill(tmp_path / "pets", FILES + IGNORED)


@pytest.mark.parametrize("normal", ["cat", "dog"])
def test_one_class_is_normal_and_every_other_a_type(pets: Path, normal: str) -> None:
    dataset = load_class_folders(pets, normal)
    table = dataset.table.set_index("path")
    assert dataset.name == "pets"
    assert set(table.index) == set(FILES)
    for path, row in table.iterrows():
        split, kind, _ = str(path).split("/")
        assert row["split"] == split
        assert row["label"] == int(kind != normal)
        assert row["anomaly_type"] == ("" if kind == normal else kind)
        assert row["image_id"] == row["group"] == path
    assert dataset.open(0).size == (8, 8)
    (note,) = dataset.notes
    assert note.startswith("pets: 4 files are passed over: 2 hidden, ")
    assert "1 outside of the classes" in note  # train/0.png


def test_images_below_sub_folders_are_of_the_first_folders_class(tmp_path: Path) -> None:
    files = ("train/ok/a/0.png", "train/ok/b/0.png", "test/ok/0", "test/mask/d/e/0.jfif")
    table = load_class_folders(fill(tmp_path / "a", files)).table.set_index("path")
    assert set(table.index) == set(files)
    assert table.loc["test/mask/d/e/0.jfif", "anomaly_type"] == "mask"


def test_the_only_class_to_train_with_is_the_normal_one(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", ("train/ok/0.png", "test/ok/0.png", "test/broken/0.png"))
    assert list(load_class_folders(folder).table["anomaly_type"]) == ["", "broken", ""]
    request = DatasetRequest(str(folder))
    assert load_dataset(request, cache_dir=tmp_path).table["label"].tolist() == [0, 1, 0]


def test_of_several_classes_one_must_be_named(pets: Path) -> None:
    rule = r"holds 2 classes, and none is named as the normal one; give one of cat, dog with"
    with pytest.raises(SpecError, match=rule):
        load_class_folders(pets)
    for name in ("bird", "Cat", "", "a\nb"):  # birds are there to test on only
        with pytest.raises(SpecError, match=r"is no class in .*; give one of cat, dog") as caught:
            load_class_folders(pets, name)
        assert str(caught.value).isprintable()


def test_many_classes_are_not_all_listed(tmp_path: Path) -> None:
    files = tuple(f"{split}/{n:02}/0.png" for split in ("train", "test") for n in range(25))
    with pytest.raises(SpecError, match=r"18, 19 and 5 more with --normal-class$"):
        load_class_folders(fill(tmp_path, files))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("train/cat/0.png",), True),
        (("train/good/0.png",), False),
        (("train/good/0.png", "train/bent/0.png"), False),
        (("train/.cache/0.png",), False),
        (("train/0.png", "test/cat/0.png"), False),
        (("cat/0.png",), False),
    ],
)
def test_is_told_from_mvtec(tmp_path: Path, files: tuple[str, ...], expected: bool) -> None:
    assert is_class_folders(fill(tmp_path / "a", files)) is expected


def test_the_registry_tells_the_layouts_apart(pets: Path, tmp_path: Path) -> None:
    request = DatasetRequest(str(pets), normal_class="dog")
    assert load_dataset(request, cache_dir=tmp_path).table["label"].sum() == 5
    mvtec = fill(tmp_path / "screws", ("train/good/0.png", "test/good/0.png", "test/bent/0.png"))
    assert load_dataset(DatasetRequest(str(mvtec)), cache_dir=tmp_path).table["label"].sum() == 1
    with pytest.raises(SpecError, match=r"--normal-class does not fit .* and folders of classes"):
        load_dataset(DatasetRequest(str(mvtec), normal_class="good"), cache_dir=tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_images(tmp_path: Path, split: str) -> None:
    other = {"train": "test", "test": "train"}[split]
    folder = fill(tmp_path / "a", (f"{other}/cat/0.png",))
    (folder / split / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match=rf"has no images in {split}/<class>; give a folder with"):
        load_class_folders(folder, "cat")
