from pathlib import Path

import pytest

from hpsearch.errors import DataError
from hpsearch.model.predict.inputs import find_images


@pytest.fixture
def mixed_files(tmp_path: Path) -> Path:
    for name in ("b.png", "a/c.JPG", "a/b.png", "notes.txt", "a/deep/scan.dcm"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "images"


def test_a_folder_stands_for_the_images_below_it_and_names_the_rest(mixed_files: Path) -> None:
    (mixed_files / "._b.png").touch()
    found = find_images([mixed_files]).images
    assert [image.image_id for image in found] == ["a/b.png", "a/c.JPG", "a/deep/scan.dcm", "b.png"]
    assert all(image.path == mixed_files / image.image_id for image in found)
    for paths in ([mixed_files], [mixed_files, mixed_files / "b.png"]):
        (note,) = find_images(paths).notes
        assert note == ("images: 2 files are passed over: 1 hidden, 1 .txt (._b.png, notes.txt)")


def test_several_paths_keep_their_order_and_each_image_comes_once(mixed_files: Path) -> None:
    last = mixed_files / "b.png"
    found = find_images([last, mixed_files, last]).images
    assert [image.path for image in found] == [
        last,
        *(mixed_files / name for name in ("a/b.png", "a/c.JPG", "a/deep/scan.dcm")),
    ]
    assert [image.image_id for image in found] == [str(image.path) for image in found]


def test_a_file_may_have_any_name(mixed_files: Path) -> None:
    found = find_images([mixed_files / "notes.txt"])
    assert [image.path for image in found.images] == [mixed_files / "notes.txt"]
    assert found.notes == ()


def test_a_manifest_names_its_images_and_may_have_other_columns(mixed_files: Path) -> None:
    manifest = mixed_files / "list.csv"
    manifest.write_text('label,image_path\n1,b.png\n0,"a/c.JPG"\n,gone.png\n,\n', "utf-8-sig")
    found = find_images([manifest]).images
    assert [image.image_id for image in found] == ["b.png", "a/c.JPG", "gone.png"]
    assert found[0].path == mixed_files / "b.png"


@pytest.mark.parametrize("content", ["", "path\na.png\n", 'image_path\n"a', "\xff"])
def test_what_is_no_manifest_is_one_line(content: str, tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(content, "latin-1")
    with pytest.raises(DataError) as caught:
        find_images([manifest])
    assert str(caught.value).startswith(str(manifest))
    assert "\n" not in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images there"):
        find_images([tmp_path])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no images there \(.* 1 file is passed over: 1 .txt"):
        find_images([tmp_path])
    with pytest.raises(DataError, match="does not exist"):
        find_images([tmp_path / "nothing"])
