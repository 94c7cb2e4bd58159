from pathlib import Path

import pytest

from hpsearch.datasets.image_folders import folders_in, images_in, reading
from hpsearch.errors import DataError


def test_images_and_folders_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPEG", ".c.png", "d.txt", "e.tiff"):
        (tmp_path / name).touch()
    for name in ("two", "one", ".git"):
        (tmp_path / name).mkdir()
    assert [file.name for file in images_in(tmp_path)] == ["a.JPEG", "b.png", "e.tiff"]
    assert [folder.name for folder in folders_in(tmp_path)] == ["one", "two"]


def test_where_there_is_no_folder_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        assert images_in(path) == folders_in(path) == []


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught, reading(tmp_path):
        raise PermissionError(13, "Permission denied", str(tmp_path / "a\nb"))
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "cannot be read (Permission denied); mend its permissions" in str(caught.value)
    assert str(caught.value).isprintable()
