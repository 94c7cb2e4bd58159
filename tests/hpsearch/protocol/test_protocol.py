"""Clean split are drawn; official ones are those of the files, and may leak where told so."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hpsearch.config.spec import StudySpec, build_spec
from hpsearch.datasets.table import validate_table
from hpsearch.errors import DataError, SpecError
from hpsearch.protocol.labels import LabelBudget, draw_labelled, labelled_for_fold
from hpsearch.protocol.protocol import split_images

NAMES = ("normal/train", "normal/val", "normal/test", "anomaly/test")
SETTINGS = {
    "study_name": "split",
    "labels": {"n_anomaly_types": 2, "n_examples": 4, "anomalies": "shared"},
}
Lists = Sequence[Sequence[str]]
CLEAN: Sequence[Lists] = [
    (["n0", "n1"], ["n2"], ["n3"], ["x0"]),
    (["n2", "n3"], ["n1"], ["n0"], ["x0", "y1"]),
]
LEAKY: Sequence[Lists] = [CLEAN[0], (["n2", "n3"], ["n1"], ["n0", "n2"], ["x0", "y1"])]


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [(f"n{n}", 0, "", "train") for n in range(12)]
    rows += [(f"{kind}{n}", 1, kind, "train") for kind in "xyz" for n in range(3)]
    rows += [("t0", 0, "", "test"), ("t1", 1, "x", "test")]
    table = pd.DataFrame(rows, columns=["image_id", "label", "anomaly_type", "split"])
    return validate_table(table.assign(path="", group="", mask_path=""), "letters")


@pytest.fixture
def official(tmp_path: Path) -> Callable[..., StudySpec]:
    """A study on fold files of these lists."""

    def make(folds: Sequence[Lists], **search: Any) -> StudySpec:
        for number, lists in enumerate(folds):
            for name, lines in zip(NAMES, lists, strict=True):
                file = tmp_path / str(number) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("\n".join(lines))
        search = {"protocol": "official", "folds": tmp_path, **search}
        return build_spec(SETTINGS, {"search": search})

    return make


def test_clean_parts_are_drawn_by_budget_and_seed(table: pd.DataFrame) -> None:
    spec = build_spec(SETTINGS, {"search": {"seed": 3}})
    split = split_images(spec, table)
    drawn = draw_labelled(table, LabelBudget(2, 4, "shared"), seed=3)
    assert split.labelled.positions.tolist() == drawn.positions.tolist()
    assert split.spec == spec
    assert split.official is None
    assert split.warnings == ()


def test_official_parts_are_those_of_the_files(
    official: Callable[..., StudySpec], table: pd.DataFrame
) -> None:
    split = split_images(official(CLEAN), table)
    ids = table["image_id"].to_numpy()
    assert split.official is not None
    for number, fold in enumerate(split.official.folds):
        labelled = labelled_for_fold(split.labelled, number, 2)
        found = (fold.train, fold.early_stop, fold.scored, labelled)
        assert [ids[part].tolist() for part in found] == [*map(list, CLEAN[number])]
    assert split.warnings == ()


def test_the_resolved_study_has_the_counts_of_the_files(
    official: Callable[..., StudySpec], table: pd.DataFrame
) -> None:
    spec = official(CLEAN)
    resolved = split_images(spec, table).spec
    assert (spec.search.n_folds, spec.labels.n_examples) == (3, 4)
    assert resolved.search.n_folds == 2
    assert (resolved.labels.n_anomaly_types, resolved.labels.n_examples) == (2, 2)
    assert split_images(resolved, table).spec == resolved
    assert resolved.model_copy(update={"labels": spec.labels, "search": spec.search}) == spec


def test_a_leak_is_refused_with_both_ways_out(
    official: Callable[..., StudySpec], table: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        split_images(official(LEAKY), table)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: fold 1: 1 of 2 scored normals were used before")
    assert "first n2" in message
    assert "--protocol clean" in message
    assert "--allow-leak" in message
    assert "\n" not in message


def test_a_leak_that_is_allowed_is_a_warning(
    official: Callable[..., StudySpec], table: pd.DataFrame
) -> None:
    split = split_images(official(LEAKY, allow_leak=True), table)
    (warning,) = split.warnings
    assert warning.startswith("fold 1: 1 of 2 scored normals were used before")
    assert split.official is not None


def test_every_leak_is_counted(official: Callable[..., StudySpec], table: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"\(and 1 more leaks\)"):
        split_images(official([LEAKY[1], LEAKY[1]]), table)


@pytest.mark.parametrize("count", [1, 11])
def test_folds_that_no_study_can_have_are_refused(
    count: int, official: Callable[..., StudySpec], table: pd.DataFrame
) -> None:
    with pytest.raises(SpecError, match=r"^search\.n_folds: ") as caught:
        split_images(official([CLEAN[0]] * count), table)
    assert "\n" not in str(caught.value)
