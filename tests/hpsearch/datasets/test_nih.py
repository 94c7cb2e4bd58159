import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpsearch.datasets.nih import (
    NIH_SETS,
    SUBSET_LISTS,
    finding_counts,
    load_nih,
    parse_multi_label,
)
from hpsearch.datasets.registry import DatasetRequest, load_dataset
from hpsearch.datasets.table import Dataset
from hpsearch.errors import DataError, SpecError
from hpsearch.protocol.audit.audit import audit

PA, AP, SUBSET = NIH_SETS


@pytest.fixture
def load(nih_root: Path, tmp_path: Path) -> Callable[..., Dataset]:
    def loaded(name: str, **options: object) -> Dataset:
        request = DatasetRequest(name, root=nih_root, **options)  # type: ignore[arg-type]
        return load_dataset(request, cache_dir=tmp_path / "cache")

    return loaded


def rows(table: pd.DataFrame) -> list[tuple[str, int, str, str, str]]:
    columns = ["image_id", "label", "anomaly_type", "group", "split"]
    return [tuple(row) for row in table[columns].to_numpy().tolist()]


def test_pa_is_as_counted_by_hand(load: Callable[..., Dataset]) -> None:
    dataset = load("nih-pa")
    assert rows(dataset.table) == [
        ("00000001_000.png", 1, "Cardiomegaly", "1", "train"),
        ("00000002_000.png", 0, "", "2", "train"),
        ("00000003_000.png", 0, "", "3", "train"),
        ("00000003_001.png", 1, "Hernia", "3", "train"),
        ("00000003_003.png", 1, "Infiltration", "3", "train"),
        ("00000004_000.png", 0, "", "4", "train"),
        ("00000006_000.png", 1, "Infiltration|Mass|Nodule", "6", "test"),
        ("00000007_000.png", 0, "", "7", "test"),
        ("00000007_001.png", 1, "Pleural_Thickening", "7", "test"),
    ]
    (note,) = dataset.notes
    assert note.startswith("1 training images with several findings are set aside")


def test_ap_is_as_counted_by_hand(load: Callable[..., Dataset]) -> None:
    assert rows(load("nih-ap").table) == [
        ("00000001_002.png", 0, "", "1", "train"),
        ("00000005_000.png", 0, "", "5", "train"),
        ("00000006_001.png", 1, "Mass", "6", "test"),
    ]


def test_several_findings_may_count_as_the_first(load: Callable[..., Dataset]) -> None:
    dataset = load("nih-pa", multi_label="first")
    table = dataset.table.set_index("image_id")
    assert len(table) == 10
    assert table.loc["00000001_001.png", "anomaly_type"] == "Cardiomegaly"
    assert table.loc["00000006_000.png", "anomaly_type"] == "Infiltration"
    assert dataset.notes == ()


def test_subset_follows_its_lists(load: Callable[..., Dataset], nih_root: Path) -> None:
    lists = {
        "normal_train.txt": ["00000002_000.png", "00000003_000.png"],
        "normal_val.txt": ["00000004_000.png"],
        "abnormal_val.txt": ["00000003_001.png", "00000001_001.png", "00000001_002.png"],
        "normal_test.txt": ["00000007_000.png"],
        "abnormal_test.txt": ["00000006_000.png"],
    }
    for file, names in lists.items():
        (nih_root / file).write_text("\n".join(names))
    dataset = load("nih-subset")
    assert rows(dataset.table) == [
        ("00000002_000.png", 0, "", "2", "train"),
        ("00000003_000.png", 0, "", "3", "train"),
        ("00000004_000.png", 0, "", "4", "train"),
        ("00000003_001.png", 1, "Hernia", "3", "train"),
        ("00000001_002.png", 1, "anomaly", "1", "train"),  # the archive has no finding there
        ("00000007_000.png", 0, "", "7", "test"),
        ("00000006_000.png", 1, "Infiltration|Mass|Nodule", "6", "test"),
    ]
    assert len(dataset.notes) == 1


def test_tar_files_give_what_loose_files_give(
    load: Callable[..., Dataset], nih_root: Path, nih_names: list[str], tmp_path: Path
) -> None:
    loose = load("nih-pa").fingerprint
    images = (nih_root / "images").rename(tmp_path / "unpacked")
    for number, names in enumerate((nih_names[:9], nih_names[9:]), start=1):
        with tarfile.open(nih_root / f"images_{number:03}.tar.gz", "w:gz") as tar:
            for name in names:
                tar.add(images / name, f"images/{name}")
    request = DatasetRequest("nih-pa", root=nih_root)
    assert load_dataset(request, cache_dir=tmp_path / "other").fingerprint == loose


def test_a_patient_lies_in_one_split_with_all_images(load: Callable[..., Dataset]) -> None:
    table = load("nih-pa", multi_label="first").table
    assert table.groupby("group").size().to_dict() == {
        "1": 2,
        "2": 1,
        "3": 3,
        "4": 1,
        "6": 1,
        "7": 2,
    }
    assert (table.groupby("group")["split"].nunique() == 1).all()


def test_findings_counted_by_hand(load: Callable[..., Dataset]) -> None:
    counts = finding_counts(load("nih-pa").table)
    assert list(counts.columns) == ["train", "test"]
    assert dict(zip(counts.index, counts.to_numpy().tolist(), strict=True)) == {
        "": [3, 1],
        "Cardiomegaly": [1, 0],
        "Hernia": [1, 0],
        "Infiltration": [1, 0],
        "Pleural_Thickening": [0, 1],
        "several findings": [0, 1],
    }
    assert [counts.index[0], counts.index[-1]] == ["", "several findings"]


def test_ways_with_several_findings_by_name() -> None:
    assert parse_multi_label("first") == "first"
    with pytest.raises(SpecError, match="multi-label 'all': unknown; give pure, first"):
        parse_multi_label("all")


def test_the_release_of_2020_reads_alike(load: Callable[..., Dataset], nih_root: Path) -> None:
    before = rows(load("nih-pa").table)
    old = nih_root / "Data_Entry_2017.csv"
    lines = old.read_text().replace("Patient Gender", "Patient Sex").splitlines()
    new = [line.rstrip(",").replace("Y,", ",").replace(",0", ",") for line in lines]
    (nih_root / "Data_Entry_2017_v2020.csv").write_text("\r\n".join(new))
    old.unlink()
    assert rows(load("nih-pa").table) == before


def test_images_are_grey_copies_of_300_px(load: Callable[..., Dataset]) -> None:
    dataset = load("nih-pa")
    for position, number in ((0, 0), (1, 3)):  # the second original is RGBA
        image = dataset.open(position)
        assert (image.mode, image.size) == ("L", (300, 300))
        ramp = np.linspace(number * 5, 255, 1024)
        expected = np.interp((np.arange(300) + 0.5) * 1024 / 300 - 0.5, np.arange(1024), ramp)
        difference = np.asarray(image, float) - expected[:, None]
        assert np.abs(difference).max() <= 1.1


def test_a_patient_in_both_lists_is_a_leak(load: Callable[..., Dataset], nih_root: Path) -> None:
    test_list, train_list = nih_root / "test_list.txt", nih_root / "train_val_list.txt"
    train_list.write_text(train_list.read_text().replace("00000003_003.png\n", ""))
    test_list.write_text(test_list.read_text() + "00000003_003.png\n")
    findings = audit(load("nih-pa")).findings
    assert ("error", "group leak", "3") in [(f.severity, f.check, f.subject) for f in findings]


@pytest.mark.parametrize("source", NIH_SETS, ids=lambda source: source.name)
def test_without_images_one_line_says_what_to_do(source, tmp_path: Path) -> None:
    for root, what in ((None, "no images here"), (tmp_path, f"lacks {source.lists[0]}")):
        with pytest.raises(DataError) as caught:
            load_nih(source, root=root, cache_dir=tmp_path / "cache")
        message = str(caught.value)
        assert message.isprintable()
        assert message.startswith(f"{source.name}: ")
        for part in (what, "Data_Entry_2017.csv", "--root", "--dataset synthetic-histology"):
            assert part in message
        assert all(name in message for name in source.lists)


def test_the_subset_asks_for_all_its_lists(load: Callable[..., Dataset], nih_root: Path) -> None:
    for name in list(SUBSET_LISTS)[:3]:
        (nih_root / name).write_text("")
    with pytest.raises(DataError, match=r"lacks normal_test\.txt"):
        load("nih-subset")


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("00000099_000.png", "00000099_000.png is not in Data_Entry_2017; take"),
        ("00000001_000.png", "00000001_000.png is listed twice, here or"),
    ],
)
def test_lists_that_do_not_fit(
    load: Callable[..., Dataset], nih_root: Path, added: str, message: str
) -> None:
    path = nih_root / "test_list.txt"
    path.write_text(path.read_text() + added)
    with pytest.raises(DataError, match=message):
        load("nih-pa")


def test_multi_label_is_for_the_nih_alone(tmp_path: Path) -> None:
    request = DatasetRequest("digits", multi_label="first")
    with pytest.raises(SpecError, match="multi_label does not fit digits; it is for nih-pa"):
        load_dataset(request, cache_dir=tmp_path)
