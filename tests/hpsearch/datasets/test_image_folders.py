import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpsearch.datasets.folders import (
    IMAGE_SUFFIXES,
    files_in,
    files_outside,
    folders_in,
    images_in,
    passed_over_notes,
    reading,
)
from hpsearch.datasets.reading import IMAGE_FORMATS
from hpsearch.errors import DataError

PIXELS = np.arange(100, dtype=np.uint8).reshape(10, 10)


def put(folder: Path, *names: str, format: str = "") -> None:
    """Empty files, or images."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if format:
            Image.fromarray(PIXELS).save(folder / name, format=format)
        else:
            (folder / name).touch()


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in images_in(folder)]


def test_the_suffixes_are_all_that_pillow_has_for_the_formats() -> None:
    known = {
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in (*IMAGE_FORMATS, "MPO")
    }
    assert {".dcm", ".dicom", ".ima"} == IMAGE_SUFFIXES - known
    assert known <= IMAGE_SUFFIXES | {".jp2c"}


def test_images_at_any_depth_by_suffix_in_any_case_and_in_order(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a.JPEG", "e.tiff", "f.WebP", "g.jfif", "h.gif", "deep/er/i.Dcm")
    put(tmp_path, ".c.png", "d.txt", ".cache/j.png")
    found = ["a.JPEG", "b.png", "deep/er/i.Dcm", "e.tiff", "f.WebP", "g.jfif", "h.gif"]
    assert names(tmp_path) == found


def test_by_content_where_the_suffix_says_nothing(tmp_path: Path) -> None:
    put(tmp_path, "IMG_0001", "1.2.840.113619.2", "scan.img", "picture.txt", format="PNG")
    (tmp_path / "bomb").write_bytes(b"P5\n60000 60000\n255\n")  # to be refused, not passed over
    put(tmp_path, "empty", "Thumbs.db")
    (tmp_path / "P1notes").write_text("P1 is no bitmap")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["1.2.840.113619.2", "IMG_0001", "bomb", "picture.txt", "scan.img"]


def test_what_is_passed_over_is_counted_by_kind_and_named(tmp_path: Path) -> None:
    put(
        tmp_path, "a.png", "._a.png", ".cache/b.png", "Thumbs.db", "notes.txt", "more.TXT", "README"
    )
    put(tmp_path, "masks/a.png", "GT/b.png", "__MACOSX/c.png", "DICOMDIR")
    found = files_in(tmp_path)
    assert [path.name for path in found.images] == ["a.png"]
    (note,) = passed_over_notes(tmp_path, found.passed_over)
    assert note.startswith(f"{tmp_path.name}: 10 files are passed over: 2 ")
    for kind in ("2 hidden", "2 .txt", "2 without suffix", "1 .db", "1 in masks/", "1 in GT/"):
        assert kind in note
    assert note.endswith("(._a.png, .cache/b.png, DICOMDIR and 7 more)")
    assert passed_over_notes(tmp_path, []) == ()


def test_images_outside_of_the_folders_that_are_read(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png", "train/good/b.png", "valid/good/c.png", "license.txt")
    outside = files_outside(tmp_path, [tmp_path / "train/good"])
    assert {found.path.relative_to(tmp_path).as_posix(): found.kind for found in outside} == {
        "train/a.png": "outside of the classes",
        "valid/good/c.png": "outside of the classes",
        "license.txt": ".txt",
    }


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/a.png", "here/b.png")
    (tmp_path / "here/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here/circle").symlink_to(tmp_path / "here")
    assert names(tmp_path / "here") == ["b.png", "link/a.png"]


def test_folders_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("two", "one", ".git"):
        (tmp_path / name).mkdir()
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
