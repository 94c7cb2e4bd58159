import os
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpsearch.datasets.manifest import load_manifest
from hpsearch.datasets.reading import ShownCounts
from hpsearch.datasets.table import Dataset, validate_table
from hpsearch.errors import DataError
from hpsearch.protocol.audit.audit import audit
from hpsearch.protocol.protocol import Finding, check_budget

SHARED = Path(os.environ.get("HPSEARCH_SHARED", Path(__file__).parents[4] / "shared" / "data"))


def make_table(**counts: int) -> pd.DataFrame:
    """Groups of one image each; `train_crack=3` is three anomalies of type crack in train."""
    rows = []
    for key, count in counts.items():
        split, kind = key.split("_")
        for number in range(count):
            image_id = f"{key}_{number}"
            kind_of = "" if kind == "normal" else kind
            rows.append((image_id, "", int(kind != "normal"), kind_of, "", split, ""))
    columns = ["image_id", "path", "label", "anomaly_type", "group", "split", "mask_path"]
    return validate_table(pd.DataFrame(rows, columns=columns), "set")


FULL = {
    "train_normal": 12,
    "test_normal": 12,
    "train_crack": 10,
    "train_hole": 4,
    "test_crack": 12,
}


def make_dataset(table: pd.DataFrame) -> Dataset:
    arrays = np.random.default_rng(0).integers(0, 256, (len(table), 8, 8, 1), dtype=np.uint8)
    return Dataset("set", table, arrays=arrays)


def found(table: pd.DataFrame, *, n_types: int = 1, n_examples: int = 4) -> list[Finding]:
    dataset = make_dataset(table)
    return list(audit(dataset, n_anomaly_types=n_types, n_examples=n_examples).findings)


def test_a_sound_dataset_has_no_findings() -> None:
    assert found(make_table(**FULL)) == []
    check_budget(make_table(**FULL), n_types=1, n_examples=4)


@pytest.mark.parametrize(
    ("changes", "n_types", "n_examples", "message"),
    [
        ({"train_normal": 0}, 1, 4, "train normals: there are none"),
        ({"test_normal": 0}, 1, 4, "test normals: there are none"),
        ({"test_crack": 0}, 1, 4, "test anomalies: there are none"),
        ({"train_crack": 0, "train_hole": 0, "test_crack": 0}, 1, 4, "anomalies: there are none"),
        ({}, 3, 4, "labelled anomalies: 4 of 3 type(s) asked for, there are 2;"),
        ({}, 1, 11, "labelled anomalies: 11 of 1 type(s) asked for, the largest 1 hold 10"),
        ({}, 2, 15, "labelled anomalies: 15 of 2 type(s) asked for, the largest 2 hold 14"),
    ],
)
def test_tables_that_a_search_refuses(
    changes: dict[str, int], n_types: int, n_examples: int, message: str
) -> None:
    table = make_table(**(FULL | changes))
    with pytest.raises(DataError) as caught:
        check_budget(table, n_types=n_types, n_examples=n_examples)
    assert str(caught.value).startswith(message)
    assert "; " in str(caught.value)
    findings = found(table, n_types=n_types, n_examples=n_examples)
    assert findings[0].severity == "error"
    assert findings[0].message == str(caught.value)


def test_anomalies_of_the_test_side_serve_where_train_has_none() -> None:
    table = make_table(train_normal=12, test_normal=12, test_crack=12)
    check_budget(table, n_types=1, n_examples=12)
    with pytest.raises(DataError, match="the largest 1 hold 12"):
        check_budget(table, n_types=1, n_examples=13)


def test_warnings_do_not_stop_a_search() -> None:
    table = make_table(**(FULL | {"test_normal": 9}))
    check_budget(table, n_types=1, n_examples=5)
    findings = found(table, n_examples=5)
    assert [(finding.severity, finding.check) for finding in findings] == [
        ("warning", "tiny class"),
        ("warning", "labelled budget"),
    ]
    assert "the smallest 1 hold 4" in findings[1].message


def test_group_in_both_splits() -> None:
    table = make_table(**FULL)
    table.loc[table["image_id"].isin(["train_normal_0", "test_normal_0"]), "group"] = "slide\n7"
    (finding,) = found(table)
    assert (finding.check, finding.subject) == ("group leak", r"slide\n7")
    with pytest.raises(DataError, match=r"^group slide\\n7: lies in train and in test"):
        check_budget(table, n_types=1, n_examples=4)


@pytest.mark.parametrize(
    ("one", "two", "severity", "why"),
    [
        ("train_normal_0", "test_normal_0", "error", "one is in train and the other in test"),
        ("train_normal_0", "train_crack_0", "error", "one is normal and the other an anomaly"),
        ("train_normal_0", "train_normal_1", "warning", "their groups differ"),
    ],
)
def test_same_pixels(one: str, two: str, severity: str, why: str) -> None:
    dataset = make_dataset(make_table(**FULL))
    ids = list(dataset.table["image_id"])
    assert dataset.arrays is not None
    dataset.arrays[ids.index(two)] = dataset.arrays[ids.index(one)]
    (finding,) = audit(dataset, n_anomaly_types=1, n_examples=4).findings
    assert (finding.severity, finding.check, finding.subject) == (severity, "same pixels", two)
    assert f"has the pixels of {one}" in finding.message
    assert why in finding.message


def test_same_pixels_in_one_group_are_no_fault() -> None:
    table = make_table(**FULL)
    table.loc[[0, 1], "group"] = "slide"
    dataset = make_dataset(table)
    assert dataset.arrays is not None
    dataset.arrays[1] = dataset.arrays[0]
    assert audit(dataset, n_anomaly_types=1, n_examples=4).findings == ()


@pytest.mark.parametrize("workers", [1, 2])
def test_unreadable_files_are_all_listed(tmp_path: Path, workers: int) -> None:
    table = make_table(**FULL)
    table["path"] = table["image_id"] + ".png"
    rng = np.random.default_rng(0)
    for path in table["path"]:
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / path)
    (tmp_path / "train_hole_2.png").write_bytes(b"")
    (tmp_path / "test_crack_1.png").unlink()
    told: list[int] = []
    findings = audit(
        Dataset("set", table, root=tmp_path),
        n_anomaly_types=1,
        n_examples=4,
        workers=workers,
        progress=lambda what, done, total: told.append(done),
    ).findings
    assert [finding.subject for finding in findings] == ["train_hole_2", "test_crack_1"]
    assert {finding.check for finding in findings} == {"unreadable"}
    assert told == [len(table)]


def test_classes_and_formats_are_counted() -> None:
    table = make_table(**FULL)
    table.loc[table["image_id"].isin(["train_hole_0", "train_hole_1"]), "group"] = "slide"
    found = audit(make_dataset(table), n_anomaly_types=1, n_examples=4)
    rows = [(row.split, row.kind, row.anomaly_type) for row in found.classes]
    assert rows == [
        ("train", "normal", ""),
        ("train", "anomaly", "crack"),
        ("train", "anomaly", "hole"),
        ("test", "normal", ""),
        ("test", "anomaly", "crack"),
    ]
    assert [row.images for row in found.classes] == [12, 10, 4, 12, 12]
    assert [row.groups for row in found.classes] == [12, 10, 3, 12, 12]
    assert found.formats == {"sizes": {"8x8": 50}, "modes": {"L": 50}}
    assert (found.passed, found.images) == (True, 50)


def test_one_file_in_two_roles(tmp_path: Path) -> None:
    table = make_table(**FULL)
    table["path"] = table["image_id"] + ".png"
    table.loc[table["image_id"] == "train_crack_3", "path"] = "test_normal_2.png"
    with pytest.raises(DataError, match=r"^image test_normal_2\.png: is test normal and train an"):
        check_budget(table, n_types=1, n_examples=4)


@pytest.mark.parametrize("kind", ["normal", "crack"])
def test_a_search_that_would_be_scored_on_the_test_images(kind: str) -> None:
    dataset = make_dataset(make_table(**(FULL | {"train_crack": 13, "train_hole": 1})))
    of_kind = dataset.table["image_id"].str.contains(kind)
    test = np.flatnonzero(of_kind & (dataset.table["split"] == "test"))
    train = np.flatnonzero(of_kind & (dataset.table["split"] == "train"))[: test.size]
    assert dataset.arrays is not None
    dataset.arrays[train] = dataset.arrays[test]
    findings = audit(dataset, n_anomaly_types=1, n_examples=1).findings
    what = "normals" if kind == "normal" else "anomalies"
    summary = [f.message for f in findings if f.check == "validation is test"]
    assert [message.partition(",")[0] for message in summary] == [
        f"test {what}: all {test.size} are train {what} too"
    ]
    assert sum(f.check == "same pixels" for f in findings) == test.size


def test_blank_images_are_one_warning() -> None:
    dataset = make_dataset(make_table(**FULL))
    assert dataset.arrays is not None
    dataset.arrays[::2] = 255
    (finding,) = audit(dataset, n_anomaly_types=1, n_examples=4).findings
    assert (finding.severity, finding.check) == ("warning", "blank")
    assert "(25 such images)" in finding.message


@pytest.mark.parametrize(
    ("sizes", "modes", "message"),
    [
        ({0: 9, 1: 9}, {0: "L", 1: "RGB"}, "modes: all normals are L and all anomalies RGB"),
        ({0: 9, 1: 12}, {0: "L", 1: "L"}, "sizes: all normals are 9x9 and all anomalies 12x12"),
    ],
)
def test_a_format_that_tells_the_classes_apart(
    sizes: dict[int, int], modes: dict[int, str], message: str, tmp_path: Path
) -> None:
    dataset = write_images(make_table(**FULL), tmp_path, sizes, modes)
    (finding,) = audit(dataset, n_anomaly_types=1, n_examples=4).findings
    assert finding.severity == "warning"
    assert finding.message.startswith(message)


def test_mixed_sizes_are_counted(tmp_path: Path) -> None:
    dataset = write_images(make_table(**FULL), tmp_path, {0: 9, 1: 9}, {0: "L", 1: "L"})
    Image.fromarray(np.eye(16, 12, dtype=np.uint8) * 99).save(tmp_path / "train_normal_0.png")
    finding, other = audit(dataset, n_anomaly_types=1, n_examples=4).findings
    assert finding.check == "mixed sizes"
    assert "2 different ones, 49 of 9x9, 1 of 12x16;" in finding.message
    assert other.check == "not square"


def test_what_the_central_square_leaves_out_is_told(tmp_path: Path) -> None:
    dataset = write_images(make_table(**FULL), tmp_path, {0: 9, 1: 9}, {0: "L", 1: "L"})
    marked = {"test_crack_0": [1, 2], "test_crack_1": [20], "train_hole_0": []}  # columns
    for image_id, columns in marked.items():
        Image.fromarray(np.eye(12, 40, dtype=np.uint8) * 99).save(tmp_path / f"{image_id}.png")
        mask = np.zeros((12, 40), np.uint8)
        mask[5, columns] = 255
        Image.fromarray(mask).save(tmp_path / f"{image_id}_mask.png")
        row = dataset.table["image_id"] == image_id
        dataset.table.loc[row, "mask_path"] = f"{image_id}_mask.png"
    findings = audit(dataset, n_anomaly_types=1, n_examples=4).findings
    told = {finding.check: finding.message for finding in findings}
    assert "3 of 50 images are not square" in told["not square"]
    assert "30 % of the median one" in told["not square"]
    assert "1 of 3 anomalies" in told["cropped away"]
    assert "keep to fit=stretch" in told["cropped away"]


def write_images(
    table: pd.DataFrame, folder: Path, sizes: dict[int, int], modes: dict[int, str]
) -> Dataset:
    """Noise; side and mode by label."""
    table["path"] = table["image_id"] + ".png"
    rng = np.random.default_rng(0)
    for path, label in zip(table["path"], table["label"], strict=True):
        side, depth = sizes[label], () if modes[label] == "L" else (3,)
        pixels = rng.integers(0, 256, (side, side, *depth), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / path)
    return Dataset("set", table, root=folder)


def test_what_is_not_taken_as_it_is_stored_is_counted(tmp_path: Path) -> None:
    table = make_table(**FULL)
    rng = np.random.default_rng(0)
    for row, image_id in enumerate(table["image_id"]):
        image = Image.fromarray(rng.integers(0, 256, (20, 12, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6 if row < 3 else 1
        if row == 4:
            image.putalpha(128)
        more = [image.copy() for _ in range(row - 4)] if row in (5, 6) else []
        image.save(tmp_path / image_id, format="TIFF", exif=exif, save_all=True, append_images=more)
        table.loc[row, "path"] = image_id
    report = audit(Dataset("set", table, root=tmp_path, notes=("set: 1 file is passed over",)))
    assert report.shown == ShownCounts(turned=3, transparent=1, many_frames=2)
    (frames,) = (finding for finding in report.findings if finding.check == "further frames")
    assert frames.severity == "warning"
    assert "has 3 frames, of which only the first is read (2 such images)" in frames.message
    assert report.to_json()["notes"] == ("set: 1 file is passed over",)
    assert report.formats["sizes"] == {"12x20": len(table) - 3, "20x12": 3}


def test_a_mask_that_does_not_lie_on_its_image_upright(tmp_path: Path) -> None:
    table = make_table(**FULL)
    for row, (image_id, label) in table[["image_id", "label"]].iterrows():
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels = np.random.default_rng(int(row)).integers(0, 256, (20, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{image_id}.png", exif=exif)
        table.loc[row, "path"] = f"{image_id}.png"
        if label:
            mask = Image.fromarray((pixels > 200).astype(np.uint8) * 255)
            upright = image_id != "train_crack_0"
            (mask.transpose(Image.Transpose.ROTATE_270) if upright else mask).save(
                tmp_path / f"{image_id}_mask.png"
            )
            table.loc[row, "mask_path"] = f"{image_id}_mask.png"
    (tmp_path / "train_hole_1_mask.png").write_bytes(b"")
    findings = audit(Dataset("set", table, root=tmp_path)).findings
    one, two = (finding.message for finding in findings if finding.check == "mask")
    assert one.startswith("mask train_crack_0_mask.png: is 12x20 px, its image 20x12 upright; ")
    assert "train_hole_1_mask.png: is empty" in two


@pytest.mark.shared_data
@pytest.mark.skipif(
    not (SHARED / "magnetic_tile.tar.gz").exists(), reason="HPSEARCH_SHARED holds no magnetic_tile"
)
def test_real_photographs_have_no_errors(tmp_path: Path) -> None:
    with tarfile.open(SHARED / "magnetic_tile.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    (manifest,) = tmp_path.rglob("manifest.csv")
    dataset = load_manifest(manifest)
    assert dataset.table.groupby(["split", "label"]).size().to_dict() == {
        ("test", 0): 328,
        ("test", 1): 133,
        ("train", 0): 624,
        ("train", 1): 259,
    }
    found = audit(dataset, n_anomaly_types=1, n_examples=20, workers=2)
    assert [finding.check for finding in found.findings] == [
        "shared group",
        "mixed sizes",
        "not square",
        "cropped away",
    ]
