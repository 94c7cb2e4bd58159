"""Labelled anomalies are parted by group, so that none is judged by a model that saw its group."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpsearch.errors import DataError
from hpsearch.protocol.folds import Fold, make_folds
from hpsearch.protocol.labels import (
    LabelledAnomalies,
    apart_from_labels,
    evaluation_roles,
    labelled_for_fold,
    listed_anomalies,
    parts_by_group,
    split_labels,
)

N_FOLDS = 3


def table_of(anomalies: list[tuple[str, str]], normals: list[str]) -> pd.DataFrame:
    """Training anomalies of these types and groups, then normals of these groups."""
    rows = [(1, kind, group) for kind, group in anomalies] + [(0, "", g) for g in normals]
    table = pd.DataFrame(rows, columns=["label", "anomaly_type", "group"])
    return table.assign(split="train")


def all_labelled(table: pd.DataFrame, use: str = "shared") -> LabelledAnomalies:
    positions = np.flatnonzero(table["label"] == 1)
    types = tuple(sorted(set(table["anomaly_type"].iloc[positions])))
    return LabelledAnomalies(positions, types, use)  # type: ignore[arg-type]


def groups_at(table: pd.DataFrame, positions: np.ndarray) -> set[str]:
    return set(table["group"].iloc[positions])


anomalies = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 12).map(str)), min_size=1, max_size=30
)


@given(anomalies, st.integers(2, 5))
@settings(deadline=None)
def test_parts_are_whole_groups_and_together_all(
    drawn: list[tuple[str, str]], n_parts: int
) -> None:
    table = table_of(drawn, [])
    parts = parts_by_group(table, all_labelled(table), n_parts)
    assert len(parts) == min(n_parts, table["group"].nunique())
    assert sorted(np.concatenate(parts)) == list(range(len(drawn)))
    assert all(part.size for part in parts)
    names = [groups_at(table, part) for part in parts]
    assert sum(map(len, names)) == len(set.union(*names))


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(2, 5))
@settings(deadline=None)
def test_where_every_image_is_its_own_group_types_are_even(kinds: list[str], n_parts: int) -> None:
    table = table_of([(kind, f"g{number}") for number, kind in enumerate(kinds)], [])
    parts = parts_by_group(table, all_labelled(table), n_parts)
    counts = [Counter(table["anomaly_type"].iloc[part]) for part in parts]
    for kind in set(kinds):
        of_kind = [count[kind] for count in counts]
        assert max(of_kind) - min(of_kind) <= 1


@given(
    anomalies,
    st.lists(st.integers(0, 40).map(str), max_size=40),
    st.sampled_from(["shared", "partition", "listed"]),
    st.booleans(),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_no_training_sees_what_it_is_judged_by(
    drawn: list[tuple[str, str]], normals: list[str], use: str, split_groups: bool, seed: int
) -> None:
    """Neither an image nor its group, whichever way the anomalies are given to the folds."""
    table = table_of(drawn, [*normals, *(f"own{number}" for number in range(9))])
    if use == "listed":
        lists = np.random.default_rng(seed).integers(0, len(drawn), (N_FOLDS, 3))
        labelled = listed_anomalies(table, [np.unique(one) for one in lists])
    else:
        labelled = all_labelled(table, use)
    scored_by_fold = [np.empty(0, dtype=np.intp)] * N_FOLDS
    if use != "partition" or len(drawn) >= N_FOLDS:
        scored_by_fold = [labelled_for_fold(labelled, fold, N_FOLDS) for fold in range(N_FOLDS)]
    folds = make_folds(table, seed=seed, anomalies=scored_by_fold, split_groups=split_groups)
    judged = []
    for number, fold in enumerate(folds):
        try:
            split = split_labels(table, labelled, fold=number, n_folds=N_FOLDS)
            apart = apart_from_labels(fold, split, table)
        except DataError as error:
            assert "leave out detectors that are trained on labels" in str(error)
            continue
        if use == "listed":
            assert split.scored.tolist() == labelled.by_fold[number].tolist()
        seen = groups_at(table, np.concatenate([split.trained, apart.train, apart.early_stop]))
        assert not seen & groups_at(table, split.scored)
        assert not groups_at(table, split.trained) & groups_at(table, apart.scored)
        assert set(split.trained) <= set(labelled.positions)
        assert set(apart.train) <= set(fold.train)
        judged += [*split.scored]
    every_group = table["group"].iloc[labelled.positions].nunique()
    if (
        use != "listed"
        and not split_groups
        and every_group > 1
        and not set(normals) & {group for _, group in drawn}
    ):
        assert set(judged) == set(labelled.positions), "each is judged by some fold"


def test_folds_that_draw_their_normals_keep_them_apart_already() -> None:
    """With `shared` anomalies nothing is left for `apart_from_labels` to take from training."""
    groups = [f"g{number // 2}" for number in range(40)]
    table = table_of([("a", f"g{number}") for number in range(6)], groups)
    labelled = all_labelled(table)
    folds = make_folds(table, seed=0, anomalies=[labelled.positions] * N_FOLDS)
    for number, fold in enumerate(folds):
        split = split_labels(table, labelled, fold=number, n_folds=N_FOLDS)
        apart = apart_from_labels(fold, split, table)
        assert apart.train.tolist() == fold.train.tolist()
        assert apart.early_stop.tolist() == fold.early_stop.tolist()


def test_two_groups_of_three_folds_are_judged_in_turn() -> None:
    table = table_of([("a", "one"), ("a", "two"), ("a", "two")], [])
    parts = [
        split_labels(table, all_labelled(table), fold=fold, n_folds=N_FOLDS).scored.tolist()
        for fold in range(N_FOLDS)
    ]
    assert parts == [[1, 2], [0], [1, 2]]


def test_the_last_training_sees_all_and_is_judged_by_none() -> None:
    table = table_of([("a", "one"), ("b", "one")], ["two"])
    split = split_labels(table, all_labelled(table), fold=None, n_folds=N_FOLDS)
    assert (split.trained.tolist(), split.scored.tolist()) == ([0, 1], [])


def test_a_type_that_is_left_out_takes_its_groups_with_it() -> None:
    table = table_of([("a", "one"), ("b", "one"), ("b", "two"), ("c", "three")], [])
    labelled = all_labelled(table)
    split = split_labels(table, labelled, fold=0, n_folds=N_FOLDS, left_out_type="a")
    assert (split.trained.tolist(), split.scored.tolist()) == ([2, 3], [0])
    with pytest.raises(DataError, match="all 2 share a group with those of type a"):
        split_labels(
            table,
            replace(labelled, positions=np.array([0, 1])),
            fold=0,
            n_folds=3,
            left_out_type="a",
        )


def test_one_group_of_anomalies_is_one_line() -> None:
    table = table_of([("a", "one"), ("b", "one")], ["two"])
    with pytest.raises(DataError, match="all 2 share a group with those that a fold") as caught:
        split_labels(table, all_labelled(table), fold=0, n_folds=N_FOLDS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("part", "says"), [("train", "train on"), ("scored", "score")])
def test_normals_that_all_share_a_group_are_one_line(part: str, says: str) -> None:
    table = table_of([("a", "one"), ("a", "two")], ["one", "two", "three", "four"])
    split = split_labels(table, all_labelled(table), fold=0, n_folds=N_FOLDS)
    beside = 2 if table["group"].iloc[split.scored[0]] == "one" else 3
    beside = beside if part == "train" else 5 - beside
    parts = {"train": np.array([4]), "early_stop": np.array([5]), "scored": np.array([4])}
    fold = Fold(**parts | {part: np.array([beside])})
    with pytest.raises(DataError, match=f"all 1 that a fold would {says} share a group"):
        apart_from_labels(fold, split, table)


def test_other_labels_have_another_digest() -> None:
    table = table_of([("a", f"g{number}") for number in range(4)], [])
    labelled = all_labelled(table)
    fewer = replace(labelled, positions=labelled.positions[:3])
    listed = replace(labelled, by_fold=(np.array([0]), np.array([1, 2, 3])))
    assert len({one.digest for one in (labelled, fewer, listed)}) == 3
    assert all_labelled(table).digest == labelled.digest


def test_test_normals_beside_what_is_trained_on_leave_the_figures() -> None:
    """Anomalies borrowed from the test side: a slide of it that a head saw tells nothing new."""
    rows = [
        ("test", 1, "a", "slide"),
        ("test", 0, "", "slide"),
        ("test", 0, "", "other"),
        ("test", 1, "a", "slide"),
        ("test", 1, "a", "third"),
    ]
    table = pd.DataFrame(rows, columns=["split", "label", "anomaly_type", "group"])
    labelled = LabelledAnomalies(np.array([0]), ("a",), "shared")
    roles = evaluation_roles(table, labelled)
    assert (roles.normals.tolist(), roles.headline.tolist()) == ([1, 2], [4])
    roles = evaluation_roles(table, labelled, trained_on=True)
    assert (roles.normals.tolist(), roles.headline.tolist()) == ([2], [4])
