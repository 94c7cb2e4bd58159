from typing import Any

import pandas as pd
import pytest

from hpsearch.datasets.registry import NAMES
from hpsearch.datasets.torchvision_sets import CIFAR10, SVHN
from hpsearch.errors import DataError
from hpsearch.paper.numbers import find_number, load_paper_numbers, validate_paper_numbers


@pytest.fixture(scope="module")
def numbers() -> pd.DataFrame:
    return load_paper_numbers()


def cell(numbers: pd.DataFrame, table: int, **where: str) -> tuple[float, float]:
    rows = numbers[numbers["table"] == table]
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    (value, std) = rows[["value", "std"]].squeeze().tolist()
    return value, std


def test_one_row_a_printed_number(numbers: pd.DataFrame) -> None:
    counts = numbers["table"].value_counts().to_dict()
    # 1: 5 methods with one number (4 for SVHN), 3 with two, ours. 2: 4 data sets of 3 x 2 + 2.
    # 3: 4 x 3. 4: 10 rows x 4. 5: 2 sets of 7 rows x 10 classes.
    assert counts == {1: 12 + 11, 2: 32, 3: 12, 4: 40, 5: 140}
    assert set(numbers["dataset"]) <= set(NAMES)
    assert numbers["std"].isna().sum() == 23 + 12  # Tables 1 and 3 print none


@pytest.mark.parametrize(
    ("table", "where", "value", "std"),
    [
        (1, {"dataset": "svhn", "method": "Deep IF", "variant": "weakly-supervised"}, 62.4, None),
        (1, {"dataset": "cifar10", "method": "Ours"}, 83.9, None),
        (2, {"dataset": "camelyon16", "method": "Deep GEO", "variant": "default"}, 52.4, 11.1),
        (2, {"dataset": "nih-ap", "method": "Ours", "variant": "with growing"}, 58.5, 0.0),
        (3, {"dataset": "nih-subset", "method": "PIAD"}, 287, None),
        (3, {"dataset": "camelyon16", "variant": "without growing"}, 105, None),
        (4, {"dataset": "nih-subset", "variant": "PL + 1 · adv + weakly-supervised"}, 64.4, 7.8),
        (4, {"dataset": "camelyon16", "variant": "L1 + unsupervised"}, 21.1, 1.4),
        (5, {"dataset": "cifar10", "class": "cat", "method": "Ours"}, 58.7, 1.2),
        (
            5,
            {"dataset": "svhn", "class": "2", "method": "Deep IF", "variant": "default"},
            51.9,
            0.8,
        ),
    ],
)
def test_cells_as_printed(
    numbers: pd.DataFrame, table: int, where: dict[str, str], value: float, std: float | None
) -> None:
    found, spread = cell(numbers, table, **where)
    assert found == value
    assert spread == std if std is not None else pd.isna(spread)


def test_means_over_the_classes_are_those_of_table_1(numbers: pd.DataFrame) -> None:
    classes = numbers[numbers["table"] == 5]
    means = classes.groupby(["dataset", "method", "variant"])["value"].mean()
    assert len(means) == 14
    for (dataset, method, variant), mean in means.items():
        where = {} if method == "Ours" else {"variant": variant}
        printed, _ = cell(numbers, 1, dataset=dataset, method=method, **where)
        assert mean == pytest.approx(printed, abs=0.06)  # ten rounded numbers, rounded again


def test_every_class_once(numbers: pd.DataFrame) -> None:
    for source in (CIFAR10, SVHN):
        rows = numbers[(numbers["table"] == 5) & (numbers["dataset"] == source.name)]
        for _, row in rows.groupby("row"):
            assert tuple(row["class"]) == source.classes


@pytest.mark.parametrize("dataset", ["camelyon16", "nih-subset", "nih-pa", "nih-ap"])
def test_our_rows_of_table_2_come_again_in_the_ablation(
    numbers: pd.DataFrame, dataset: str
) -> None:
    plain = cell(numbers, 4, dataset=dataset, variant="PL + weakly-supervised")
    grown = cell(
        numbers, 4, dataset=dataset, variant="PL + weakly-supervised + progressive growing"
    )
    assert plain == cell(numbers, 2, dataset=dataset, variant="without growing")
    assert grown == cell(numbers, 2, dataset=dataset, variant="with growing")


@pytest.mark.parametrize(
    ("column", "text", "rule"),
    [
        ("table", "6", "table must be 1 to 5"),
        ("metric", "accuracy", "metric must be"),
        ("value", "92,7", "value must be a number"),
        ("value", "101", "value must be a number of its metric"),
        ("std", "-1", "std must be empty or at least 0"),
        ("std", "none", "std must be empty or at least 0"),
        ("dataset", "", "texts must not be empty"),
        ("source", "Table 1, row CIFAR10, column AnoGAN, left", "source must be unique"),
    ],
)
def test_a_changed_file_is_refused(
    numbers: pd.DataFrame, column: str, text: str, rule: str
) -> None:
    texts = numbers.astype({"std": object}).fillna({"std": ""}).astype(str)
    texts.loc[4, column] = text
    with pytest.raises(DataError, match=rf"paper\.csv row 6: {rule}"):
        validate_paper_numbers(texts)
    with pytest.raises(DataError, match="its columns must be table,row,"):
        validate_paper_numbers(texts.drop(columns="std"))


@pytest.mark.parametrize(
    ("where", "value", "std"),
    [
        ({"table": 1, "dataset": "svhn", "variant": "without growing"}, 80.3, None),
        ({"table": 2, "dataset": "nih-ap", "variant": "with growing"}, 58.5, 0.0),
        ({"table": 3, "dataset": "nih-pa", "variant": "with growing"}, 159, None),
        (
            {
                "table": 5,
                "dataset": "cifar10",
                "normal_class": "ship",
                "variant": "weakly-supervised",
            },
            91.4,
            0.5,
        ),
    ],
    ids=str,
)
def test_a_number_of_its_own_method_is_found(
    where: dict[str, Any], value: float, std: float | None
) -> None:
    found = find_number(load_paper_numbers(), **where)
    assert found is not None
    assert (found.value, found.std) == (value, std)
    assert found.source.startswith(f"Table {where['table']}")


def test_what_is_not_in_the_paper_is_not_found() -> None:
    numbers = load_paper_numbers()
    assert find_number(numbers, table=1, dataset="digits", variant="without growing") is None
    assert find_number(numbers, table=3, dataset="nih-pa", variant="") is None, "another's method"
