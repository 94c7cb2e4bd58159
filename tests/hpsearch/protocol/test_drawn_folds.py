"""What is told of folds that groups make uneven, and of anomalies in groups of normals."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from hpsearch.errors import DataError
from hpsearch.protocol.folds import final_split
from hpsearch.protocol.labels import (
    LabelBudget,
    LabelledAnomalies,
    draw_labelled,
    labelled_for_fold,
)
from hpsearch.protocol.protocol import DrawnFolds, draw_folds

UNEVEN = {"big": 100, "small_1": 6, "small_2": 6}


def make_table(normals: Mapping[str, int], anomalies: Mapping[str, int]) -> pd.DataFrame:
    """Training images, so many in each group."""
    rows = [(group, 0, "") for group, count in normals.items() for _ in range(count)]
    rows += [(group, 1, "blob") for group, count in anomalies.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["group", "label", "anomaly_type"])
    return table.assign(split="train", image_id=[str(n) for n in range(len(table))])


def draw(
    table: pd.DataFrame, *, split_groups: bool = False, use: str = "shared", n_examples: int = 6
) -> tuple[DrawnFolds, LabelledAnomalies]:
    labelled = draw_labelled(table, LabelBudget(1, n_examples, use), seed=0)  # type: ignore[arg-type]
    return draw_folds(table, labelled, n_folds=3, seed=0, split_groups=split_groups), labelled


def kinds(drawn: DrawnFolds) -> list[str]:
    assert not any("\n" in warning.message for warning in drawn.warnings)
    return [warning.kind for warning in drawn.warnings]


def test_a_fold_that_trains_on_less_than_half_of_what_another_does_is_told() -> None:
    drawn, _ = draw(make_table(UNEVEN, {"x": 6}))
    assert kinds(drawn) == ["uneven folds", "early stopping"]
    first, second = (warning.message for warning in drawn.warnings)
    assert "trains on 6 normals and fold" in first
    assert "big has 100 of 112" in first
    assert "holds out 6 of 12 normals for early stopping" in second
    assert all("--split-groups" in warning.message for warning in drawn.warnings)


def test_split_groups_mends_it_and_is_told_instead() -> None:
    drawn, _ = draw(make_table(UNEVEN, {"x": 6}), split_groups=True)
    assert kinds(drawn) == ["split group"]
    assert drawn.warnings[0].message.startswith("group big is both trained on and scored")
    assert {fold.train.size for fold in drawn.folds} <= {59, 60}


def test_even_groups_are_not_told_of() -> None:
    drawn, _ = draw(make_table({f"slide_{n}": 10 for n in range(12)}, {"x": 6}))
    assert kinds(drawn) == []


@pytest.mark.parametrize("use", ["shared", "partition"])
def test_no_group_is_both_trained_on_and_scored(use: str) -> None:
    """Each of 30 patients has normals and one anomaly: those of the labelled ones are left out."""
    patients = {f"patient_{n:02d}": 1 + n % 5 for n in range(30)}
    table = make_table(patients, dict.fromkeys(patients, 1))
    drawn, labelled = draw(table, use=use)
    groups = table["group"].to_numpy(dtype=object)
    everything = final_split(table).tolist()
    for number, fold in enumerate(drawn.folds):
        scored = np.concatenate([fold.scored, labelled_for_fold(labelled, number, 3)])
        assert not set(groups[scored]) & set(groups[np.union1d(fold.train, fold.early_stop)])
    assert sorted(np.concatenate([fold.scored for fold in drawn.folds])) == everything
    beside = np.isin(groups[everything], groups[labelled.positions]).sum()
    assert kinds(drawn) == ["shared group"]
    assert drawn.warnings[0].message.startswith(f"{beside} of {len(everything)} training normals")
    if use == "partition":  # a fold leaves out the groups of its own anomalies alone
        trained = np.concatenate([fold.train for fold in drawn.folds])
        assert set(groups[labelled.positions]) & set(groups[trained])


def test_folds_without_a_group_to_train_on_are_refused_with_the_way_out() -> None:
    patients = dict.fromkeys("abcdef", 5)
    table = make_table(patients, dict.fromkeys(patients, 1))
    with pytest.raises(DataError) as caught:
        draw(table)
    message = str(caught.value)
    assert message.startswith("training normals: 30 share a group with labelled anomalies")
    assert "--split-groups" in message
    assert "\n" not in message
    split, _ = draw(table, split_groups=True)
    assert kinds(split) == ["shared group"]
    assert "trained on all the same" in split.warnings[0].message
    assert {fold.train.size + fold.early_stop.size for fold in split.folds} == {20}
