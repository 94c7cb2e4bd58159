import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.datasets.table import IMAGE_COLUMNS, class_table, validate_table

CLASSES = ("cat", "dog", "bird")


@given(classes=st.lists(st.sampled_from(CLASSES), min_size=1), normal=st.sampled_from(CLASSES))
def test_classes_can_be_told_from_the_table(classes: list[str], normal: str) -> None:
    ids = [f"image-{number}" for number in range(len(classes))]
    splits = np.where(np.arange(len(classes)) % 2, "train", "test")
    table = class_table(ids, classes, splits, normal=normal, paths=[f"{i}.png" for i in ids])
    assert list(table.columns) == list(IMAGE_COLUMNS)
    valid = validate_table(table, "animals")
    assert list(valid["anomaly_type"].replace("", normal)) == classes
    assert list(valid["label"] == 0) == [name == normal for name in classes]
    assert list(valid["split"]) == list(splits)
    assert list(valid["path"]) == [f"{i}.png" for i in ids]


def test_images_in_memory_have_no_path() -> None:
    assert class_table(["a"], ["cat"], ["test"], normal="cat")["path"].tolist() == [""]
