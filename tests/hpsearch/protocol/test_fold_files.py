"""Fold files are read as they are, whatever is wrong with them is one line, and leaks are found."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpsearch.errors import DataError
from hpsearch.protocol.fold_files import OfficialFolds, leaks, read_fold_files
from hpsearch.protocol.folds import Fold, make_folds

NAMES = ("normal/train", "normal/val", "normal/test", "anomaly/test")
NUMBERS = ("train", "val", "test_normal", "test_anomaly")


def table_of(rows: Sequence[tuple[str, int, str, str]]) -> pd.DataFrame:
    """Rows of id, label, split and group."""
    table = pd.DataFrame(rows, columns=["image_id", "label", "split", "group"])
    return table.assign(anomaly_type=np.where(table["label"] == 1, "tumour", ""))


TABLE = table_of(
    [
        ("test/t0.png", 0, "test", "t0"),
        ("train/n0.png", 0, "train", "n0"),
        ("train/n1.png", 0, "train", "n1"),
        ("a/same.png", 0, "train", "s0"),
        ("b/same.png", 0, "train", "s1"),
        ("train/n2.png", 0, "train", "n2"),
        ("train/x0.png", 1, "train", "x0"),
        ("train/x1.png", 1, "train", "x1"),
        ("test/x2.png", 1, "test", "x2"),
    ]
)
LISTS = (["n2.png"], ["n0.png"], ["train/n1.png"], ["x1.png"])
OTHER_LISTS = (["a/same.png"], ["b/same.png"], ["n0.png", "n1.png"], ["x1.png", "x0.png"])


def write_names(place: Path, lists: Sequence[Sequence[str]]) -> None:
    for name, lines in zip(NAMES, lists, strict=True):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("".join(f"{line}\n" for line in lines))


def write_numbers(place: Path, lists: Sequence[Any]) -> None:
    place.mkdir(parents=True)
    for name, numbers in zip(NUMBERS, lists, strict=True):
        np.save(place / f"{name}.npy", np.asarray(numbers))


def plain(read: OfficialFolds) -> list[list[list[int]]]:
    return [
        [part.tolist() for part in (fold.train, fold.early_stop, fold.scored, anomalies)]
        for fold, anomalies in zip(read.folds, read.anomalies, strict=True)
    ]


@pytest.fixture
def two_folds(tmp_path: Path) -> Path:
    """Two folds of `TABLE`, in lists of names."""
    write_names(tmp_path / "0", LISTS)
    write_names(tmp_path / "1", OTHER_LISTS)
    return tmp_path


def test_names_are_ids_or_their_last_parts(two_folds: Path) -> None:
    (two_folds / ".ipynb_checkpoints").mkdir()
    (two_folds / "0" / "normal" / "train-checkpoint").write_text("nonsense")
    read = read_fold_files(two_folds, TABLE)
    assert plain(read) == [[[5], [1], [2], [7]], [[3], [4], [1, 2], [6, 7]]]
    assert leaks(read.folds, TABLE) == []


def test_numbers_count_the_training_images_in_the_order_of_the_table(tmp_path: Path) -> None:
    write_numbers(tmp_path / "0", ([4], [0], [3, 1], [5]))
    write_numbers(tmp_path / "1", ([0, 1], [2], [3], [6, 5]))
    read = read_fold_files(tmp_path, TABLE)
    assert plain(read) == [[[5], [1], [2, 4], [6]], [[1, 2], [3], [4], [6, 7]]]


def test_the_digest_tells_folds_and_anomalies_apart(two_folds: Path) -> None:
    digests = [read_fold_files(two_folds, TABLE).digest]
    assert read_fold_files(two_folds, TABLE).digest == digests[0]
    for lists in (
        (["n2.png"], ["n1.png"], ["n0.png"], ["x1.png"]),
        (["n2.png"], ["n0.png"], ["n1.png"], ["x0.png"]),
    ):
        write_names(two_folds / "0", lists)
        digests.append(read_fold_files(two_folds, TABLE).digest)
    assert len(set(digests)) == 3


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_any_folds_come_back_from_either_form(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    n_normals, n_anomalies = data.draw(st.integers(3, 9)), data.draw(st.integers(1, 5))
    rows = [(f"dir {number}/é {number}.png", 0, "train", "g") for number in range(n_normals)]
    rows += [(f"x{number}", 1, "train", "g") for number in range(n_anomalies)]
    table = table_of(rows)
    normal, anomaly = range(n_normals), range(n_normals, n_normals + n_anomalies)
    parts = [
        [
            data.draw(st.lists(st.sampled_from(of), min_size=1, unique=True))
            for of in (normal, normal, normal, anomaly)
        ]
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    names, numbers = tmp_path_factory.mktemp("names"), tmp_path_factory.mktemp("numbers")
    for fold, lists in enumerate(parts):
        ids = [table["image_id"].iloc[positions].tolist() for positions in lists]
        write_names(names / str(fold), ids)
        write_numbers(numbers / str(fold), lists)
    expected = [[sorted(positions) for positions in lists] for lists in parts]
    for place in (names, numbers):
        assert plain(read_fold_files(place, table)) == expected


def _one(line: str, place: str = "normal/train") -> Callable[[Path], None]:
    return lambda folder: (folder / "1" / place).write_text(f"n0.png\n{line}\n") and None


def _unlink(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


FAULTS: Mapping[str, tuple[Callable[[Path], Any], str]] = {
    "unknown": (_one("n9.png"), r"1/normal/train: n9.png is not in the data set \(1 of 2 such"),
    "ambiguous": (_one("same.png"), "same.png is the name of several images"),
    "anomaly among normals": (
        _one("x0.png"),
        r"train/x0.png is a train anomaly, but the list is of normals to search with \(1 of 2",
    ),
    "test normal": (_one("t0.png", "normal/val"), "t0.png is a test normal, but the list is of"),
    "normal among anomalies": (
        _one("x0.png", "anomaly/test"),
        "n0.png is a train normal, but the list is of anomalies",
    ),
    "test anomaly": (
        lambda folder: (folder / "1/anomaly/test").write_text("x2.png"),
        "x2.png is a test anomaly, but the list is of anomalies to search with",
    ),
    "twice": (_one("train/n0.png"), "lists train/n0.png twice"),
    "empty": (lambda folder: (folder / "0/normal/val").write_text("\n"), "0/normal/val: lists no"),
    "no anomalies": (lambda folder: (folder / "0/anomaly/test").write_text(""), "no anomalies"),
    "binary": (lambda folder: (folder / "0/normal/val").write_bytes(b"\xff\xfe"), "not UTF-8"),
    "missing file": (_unlink("0/normal/val"), "0/normal/val: cannot be opened"),
    "missing anomalies": (_unlink("0/anomaly/test"), "0/anomaly/test: cannot be opened"),
    "no fold": (_unlink("1/normal/train"), r"/1: is no fold, for it holds neither normal/train"),
    "missing fold": (lambda folder: (folder / "1").rename(folder / "2"), "fold 1 is missing"),
    "control character": (_one("a\x1b[31m.png"), r"a\\x1b\[31m.png is not in"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_names_is_one_line_with_the_file(fault: str, two_folds: Path) -> None:
    break_it, says = FAULTS[fault]
    break_it(two_folds)
    with pytest.raises(DataError, match=says) as caught:
        read_fold_files(two_folds, TABLE)
    assert str(two_folds) in str(caught.value)
    assert ";" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([7], "number 7 is not in the data set, which has 7 training images"),
        ([-1], "number -1 is not in"),
        ([5], "train/x0.png is a train anomaly, but the list is of normals"),
        ([0, 0], "lists train/n0.png twice"),
        (np.empty(0, np.int64), "lists no normals"),
        ([0.5], r"holds float64 of shape \(1,\), not a row of whole numbers"),
        ([[0]], r"holds int64 of shape \(1, 1\)"),
        (np.array(["n0"]), "not a row of whole numbers"),
        (np.array([{}], dtype=object), "is no array of numbers"),
    ],
)
def test_a_fault_of_numbers_is_one_line_with_the_file(
    content: Any, says: str, tmp_path: Path
) -> None:
    write_numbers(tmp_path / "0", ([4], [0], [3, 1], [5]))
    np.save(tmp_path / "0" / "val.npy", content)
    with pytest.raises(DataError, match=says) as caught:
        read_fold_files(tmp_path, TABLE)
    assert str(tmp_path / "0" / "val.npy") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, 40, 130])
def test_a_torn_array_is_one_line(keep: int, tmp_path: Path) -> None:
    write_numbers(tmp_path / "0", ([4], [0], [3, 1], [5]))
    file = tmp_path / "0" / "test_normal.npy"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"test_normal\.npy: is no array of numbers") as caught:
        read_fold_files(tmp_path, TABLE)
    assert "\n" not in str(caught.value)


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    write_numbers(tmp_path / "0", ([4], [0], [3, 1], [5]))
    file = tmp_path / "0" / "val.npy"
    header = {"descr": "<i8", "fortran_order": False, "shape": (10**13,)}
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        out.write(bytes(8))
    with pytest.raises(DataError, match="no array of numbers"):
        read_fold_files(tmp_path, TABLE)


@pytest.mark.parametrize("what", ["missing", "file", "empty"])
def test_a_folder_without_folds_is_one_line(what: str, tmp_path: Path) -> None:
    place = tmp_path / what
    if what == "file":
        place.write_text("")
    if what == "empty":
        place.mkdir()
    with pytest.raises(DataError, match="the folder that holds the folds 0, 1, 2") as caught:
        read_fold_files(place, TABLE)
    assert "\n" not in str(caught.value)


def test_the_structure_of_the_published_camelyon16_folds_is_found_out(tmp_path: Path) -> None:
    """Their folds part tiles, and then score every tile of the slides they took them from."""
    tiles = [f"normal_{slide:03d}_x_{tile}.jpg" for slide in range(10) for tile in range(5)]
    rows = [(f"tiles/{name}", 0, "train", name[:10]) for name in tiles]
    rows += [(f"tiles/tumor_{number:03d}.jpg", 1, "train", "tumor") for number in range(6)]
    table = table_of(rows)
    for fold in range(3):
        mixed = np.random.default_rng(fold).permutation(tiles).tolist()
        tumours = [f"tumor_{number:03d}.jpg" for number in (2 * fold, 2 * fold + 1)]
        write_names(tmp_path / str(fold), (mixed[:40], mixed[40:], tiles, tumours))
    read = read_fold_files(tmp_path, table)
    for fold in read.folds:
        assert sorted([*fold.train, *fold.early_stop]) == fold.scored.tolist() == list(range(50))
    found = leaks(read.folds, table)
    for number in range(3):
        images, groups = (line for line in found if line.startswith(f"fold {number}: "))
        assert "50 of 50 scored normals were used before (40 trained on, 10 held out" in images
        assert images.endswith("first tiles/normal_000_x_0.jpg")
        assert "groups of images lie in two of its parts, first normal_0" in groups
    assert len(found) == 6


@pytest.mark.parametrize(
    ("parts", "groups", "says"),
    [
        (([0, 1], [2], [2, 3]), "abcd", ["1 of 2 scored normals were used before (0 trained on"]),
        (([0, 1], [2], [1, 3]), "abcd", ["1 of 2 scored normals were used before (1 trained on"]),
        (([0, 1], [1, 2], [3]), "abcd", ["1 of 2 normals held out for early stopping were also"]),
        (([0, 1], [2], [3]), "abca", ["1 groups of images lie in two of its parts, first a"]),
        (([0, 1], [2], [3]), "abbd", ["1 groups of images lie in two of its parts, first b"]),
        (([0, 1], [2], [3]), "abcc", ["1 groups of images lie in two of its parts, first c"]),
        (([0, 1], [2], [3]), "aabc", []),
    ],
)
def test_each_leak_is_a_line(parts: tuple[list[int], ...], groups: str, says: list[str]) -> None:
    table = table_of([(f"{n}.png", 0, "train", group) for n, group in enumerate(groups)])
    train, early_stop, scored = map(np.array, parts)
    found = leaks([Fold(train, early_stop, scored)], table)
    assert len(found) == len(says)
    for line, words in zip(found, says, strict=True):
        assert line.startswith(f"fold 0: {words}")


def test_folds_by_group_have_no_leak() -> None:
    table = table_of([(f"{n}.png", 0, "train", f"g{n // 3}") for n in range(40)])
    assert leaks(make_folds(table, seed=3), table) == []
