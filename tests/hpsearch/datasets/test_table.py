from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpsearch.datasets.table import IMAGE_COLUMNS, Dataset, validate_table
from hpsearch.errors import DataError


def make_table(**columns: list[object]) -> pd.DataFrame:
    """Three rows: two normals and an anomaly."""
    rows: dict[str, list[object]] = {
        "image_id": ["a", "b", "c"],
        "path": ["a.png", "b.png", "c.png"],
        "label": [0, 0, 1],
        "anomaly_type": ["", "", "crack"],
        "group": ["g", "g", "h"],
        "split": ["train", "test", "test"],
        "mask_path": ["", "", ""],
    }
    return pd.DataFrame(rows | columns)


def test_a_valid_table_is_unchanged_and_in_order() -> None:
    shuffled = make_table()[list(reversed(IMAGE_COLUMNS))].set_index(pd.Index([7, 8, 9]))
    table = validate_table(shuffled, "set")
    pd.testing.assert_frame_equal(table, validate_table(make_table(), "set"))
    assert tuple(table.columns) == IMAGE_COLUMNS
    assert table.to_dict("list") == make_table().to_dict("list")


def test_gaps_are_filled() -> None:
    given = make_table(anomaly_type=["", None, None], group=["", "g", None])
    table = validate_table(given, "set")
    assert list(table["anomaly_type"]) == ["", "", "anomaly"]
    assert list(table["group"]) == ["a", "g", "c"]
    assert given["group"].isna().any()  # the caller's table is left alone


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_id": ["a", "b", "a"]}, r"image a comes twice"),
        ({"label": [0, 2, 1]}, r"image b has another label"),
        ({"split": ["train", "test", "val"]}, r"image c has another split"),
        ({"anomaly_type": ["", "crack", "crack"]}, r"image b is normal with an anomaly_type"),
    ],
)
def test_broken_rules(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=rf"^set: {message}.*; "):
        validate_table(make_table(**columns), "set")


def test_missing_column_and_empty_table() -> None:
    with pytest.raises(DataError, match="lacks group, split"):
        validate_table(make_table().drop(columns=["group", "split"]), "set")
    with pytest.raises(DataError, match="holds no images"):
        validate_table(make_table().iloc[:0], "set")


@pytest.fixture
def three_images(tmp_path: Path) -> Path:
    for position, name in enumerate("abc"):
        Image.new("L", (8, 8), position).save(tmp_path / f"{name}.png")
    return tmp_path


def test_open_reads_the_row(three_images: Path) -> None:
    dataset = Dataset("set", make_table(), root=three_images)
    assert [dataset.open(position).getpixel((0, 0)) for position in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_open_of_an_array(channels: int, mode: str) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (3, 9, 8, channels), dtype=np.uint8)
    image = Dataset("set", make_table(), arrays=arrays).open(2)
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image).reshape(9, 8, channels), arrays[2])


def test_pixels_must_fit_the_table(three_images: Path) -> None:
    for arrays in (np.zeros((2, 8, 8, 1), np.uint8), np.zeros((3, 8, 8, 2), np.uint8)):
        with pytest.raises(ValueError, match="arrays must be"):
            Dataset("set", make_table(), arrays=arrays)
    with pytest.raises(ValueError, match="either a root or arrays"):
        Dataset("set", make_table())


def test_fingerprint_follows_content_and_not_place(three_images: Path, tmp_path: Path) -> None:
    before = Dataset("set", make_table(), root=three_images).fingerprint
    moved = three_images.rename(three_images.with_name("moved"))
    assert Dataset("other name", make_table(), root=moved).fingerprint == before
    assert Dataset("set", make_table(group=["g", "g", "i"]), root=moved).fingerprint != before
    Image.new("L", (8, 8), 9).save(moved / "b.png")
    assert Dataset("set", make_table(), root=moved).fingerprint != before


def test_fingerprint_of_arrays() -> None:
    arrays = np.zeros((3, 8, 8, 1), np.uint8)
    before = Dataset("set", make_table(), arrays=arrays).fingerprint
    assert Dataset("set", make_table(), arrays=arrays.copy()).fingerprint == before
    assert Dataset("set", make_table(), arrays=arrays.reshape(3, 16, 4, 1)).fingerprint != before
    arrays = arrays.copy()
    arrays[2, 7, 7, 0] = 1
    assert Dataset("set", make_table(), arrays=arrays).fingerprint != before


def test_fingerprint_of_a_missing_file_is_one_line(three_images: Path) -> None:
    (three_images / "c.png").unlink()
    with pytest.raises(DataError, match=r"c\.png: cannot be opened"):
        _ = Dataset("set", make_table(), root=three_images).fingerprint
