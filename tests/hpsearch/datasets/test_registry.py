from pathlib import Path

import pytest
from PIL import Image

from hpsearch.datasets import registry as module
from hpsearch.datasets.registry import NAMES, DatasetRequest, load_dataset
from hpsearch.errors import SpecError


@pytest.fixture
def screws(tmp_path: Path) -> Path:
    """A folder in MVTec AD layout that also holds a manifest."""
    folder = tmp_path / "screws"
    for name in ("train/good/0.png", "test/good/0.png", "test/bent/0.png"):
        (folder / name).parent.mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / name)
    rows = ["image_path,label_index,split", "train/good/0.png,0,train", "test/bent/0.png,1,test"]
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


def load(name: str, cache_dir: Path, **options: object) -> list[str]:
    request = DatasetRequest(name, **options)  # type: ignore[arg-type]
    return list(load_dataset(request, cache_dir=cache_dir).table["image_id"])


def test_a_folder_and_a_manifest(screws: Path, tmp_path: Path) -> None:
    in_order = ["train/good/0.png", "test/bent/0.png", "test/good/0.png"]
    assert load(str(screws), tmp_path) == in_order
    assert load(str(screws / "list.csv"), tmp_path) == in_order[:2]
    moved = (screws / "list.csv").rename(tmp_path / "moved.CSV")
    assert load(str(moved), tmp_path, root=screws) == in_order[:2]


def test_digits_take_a_class_and_the_seed(tmp_path: Path) -> None:
    request = DatasetRequest("digits", normal_class="3", seed=5)
    dataset = load_dataset(request, cache_dir=tmp_path)
    other = load_dataset(DatasetRequest("digits", normal_class="3"), cache_dir=tmp_path)
    assert (dataset.table["label"] == 0).sum() == 183  # threes in scikit-learn's set
    assert not dataset.table.equals(other.table)


@pytest.mark.parametrize("root", [None, Path("mine")])
@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_torchvision_sets_lie_in_the_root_or_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, root: Path | None
) -> None:
    def loaded(source: object, normal_class: str | None, *, root: Path) -> tuple[object, ...]:
        return getattr(source, "name", None), normal_class, root

    monkeypatch.setattr(module, "load_torchvision", loaded)
    request = DatasetRequest(name, root=root, normal_class="4")
    expected = (name, "4", root or tmp_path / "torchvision")
    assert load_dataset(request, cache_dir=tmp_path) == expected


@pytest.mark.parametrize(
    ("name", "hint"),
    [("cifar-10", "did you mean cifar10?"), ("synthetic", "did you mean"), ("", "''"), ("\0", "")],
)
def test_unknown_name_lists_the_known(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(name, tmp_path)
    message = str(caught.value)
    assert message.isprintable()
    assert hint in message
    assert all(known in message for known in NAMES)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("synthetic-histology", {"normal_class": "0"}, "--normal-class does not fit"),
        ("a.csv", {"normal_class": "0"}, "--normal-class does not fit"),
        ("digits", {"root": Path(".")}, "--root does not fit"),
        (".", {"root": Path(".")}, "--root does not fit"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=f"{message} .*; it is for"):
        load(name, tmp_path, **options)
