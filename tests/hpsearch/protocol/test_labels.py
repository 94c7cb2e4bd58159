"""The labelled draw keeps to its budget and its pool, and the test roles hold no drawn image."""

from collections import Counter
from itertools import pairwise
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpsearch.errors import DataError, SpecError
from hpsearch.protocol.labels import (
    AnomalyUse,
    LabelBudget,
    LabelledAnomalies,
    anomaly_pool,
    draw_labelled,
    evaluation_roles,
    labelled_for_fold,
    listed_anomalies,
)


def layout(train: dict[str, int], test: dict[str, int], n_test_normals: int = 4) -> pd.DataFrame:
    """So many anomalies of each type on each side, every image its own group."""
    rows = [(0, "", "train")] * 3 + [(0, "", "test")] * n_test_normals
    for split, counts in (("train", train), ("test", test)):
        rows += [(1, name, split) for name, count in counts.items() for _ in range(count)]
    table = pd.DataFrame(rows, columns=["label", "anomaly_type", "split"])
    return table.assign(group=[f"g{i}" for i in range(len(table))])


def types_at(table: pd.DataFrame, positions: np.ndarray) -> Counter[str]:
    return Counter(table["anomaly_type"].to_numpy()[positions])


@st.composite
def searches(draw: st.DrawFn) -> tuple[pd.DataFrame, LabelBudget, int]:
    """A table with anomalies on one side or on both, and a budget that it can meet."""
    counts = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=1)
    test = draw(counts)
    train = draw(st.one_of(st.just({}), counts))
    pool = train or test
    n_types = draw(st.integers(1, len(pool)))
    # Enough for whichever types are drawn.
    most = sum(sorted(pool.values())[:n_types])
    n_examples = draw(st.integers(n_types, max(n_types, most)))
    use = draw(st.sampled_from(get_args(AnomalyUse)))
    table = layout(train, test)
    coarse = draw(st.integers(2, 40))
    table["group"] = [f"g{draw(st.integers(0, coarse))}" for _ in range(len(table))]
    return table, LabelBudget(n_types, n_examples, use), draw(st.integers(0, 2**32))


@given(searches())
@settings(deadline=None)
def test_the_draw_keeps_to_budget_and_pool(case: tuple[pd.DataFrame, LabelBudget, int]) -> None:
    table, asked, seed = case
    labelled = draw_labelled(table, asked, seed=seed)
    assert len(set(labelled.positions)) == labelled.positions.size == asked.n_examples
    assert len(set(labelled.types)) == asked.n_types
    assert set(types_at(table, labelled.positions)) == set(labelled.types)
    assert set(labelled.positions) <= set(anomaly_pool(table))
    assert (table["label"].to_numpy()[labelled.positions] == 1).all()
    if ((table["label"] == 1) & (table["split"] == "train")).any():
        assert set(table["split"].to_numpy()[labelled.positions]) == {"train"}
    taken = types_at(table, labelled.positions)
    held = types_at(table, anomaly_pool(table))
    for name in labelled.types:  # short of its share only when it is used up
        assert taken[name] >= max(taken.values()) - 1 or taken[name] == held[name]
    again = draw_labelled(table, asked, seed=seed)
    assert again.positions.tolist() == labelled.positions.tolist()


@given(searches(), st.data())
@settings(deadline=None)
def test_more_examples_contain_fewer(
    case: tuple[pd.DataFrame, LabelBudget, int], data: st.DataObject
) -> None:
    table, asked, seed = case
    n_fewer = data.draw(st.integers(asked.n_types, asked.n_examples))
    fewer = draw_labelled(table, LabelBudget(asked.n_types, n_fewer), seed=seed)
    more = draw_labelled(table, asked, seed=seed)
    assert fewer.types == more.types
    assert set(fewer.positions) <= set(more.positions)


@given(searches())
@settings(deadline=None)
def test_the_folds_of_a_partition_are_even_disjoint_and_complete(
    case: tuple[pd.DataFrame, LabelBudget, int],
) -> None:
    table, asked, seed = case
    asked = LabelBudget(asked.n_types, asked.n_examples, "partition")
    labelled = draw_labelled(table, asked, seed=seed)
    if asked.n_examples < 3:
        with pytest.raises(DataError, match="too few to part between 3 folds"):
            labelled_for_fold(labelled, 0, 3)
        return
    parts = [labelled_for_fold(labelled, fold, 3) for fold in range(3)]
    assert sorted(np.concatenate(parts)) == sorted(labelled.positions)
    for name in labelled.types:
        in_parts = [types_at(table, part)[name] for part in parts]
        assert max(in_parts) - min(in_parts) <= 1


@given(searches())
@settings(deadline=None)
def test_roles_hold_no_drawn_image_and_nothing_of_the_training_side(
    case: tuple[pd.DataFrame, LabelBudget, int],
) -> None:
    table, asked, seed = case
    labelled = draw_labelled(table, asked, seed=seed)
    try:
        roles = evaluation_roles(table, labelled)
    except DataError as error:
        assert str(error).startswith("test anomalies: none is left")
        return
    parts = (roles.normals, roles.seen, roles.unseen)
    together = np.concatenate(parts)
    assert len(set(together)) == together.size
    assert not set(together) & set(labelled.positions)
    assert set(table["split"].to_numpy()[together]) == {"test"}
    assert (table["label"].to_numpy()[roles.normals] == 0).all()
    assert set(types_at(table, roles.seen)) <= set(labelled.types)
    assert not set(types_at(table, roles.unseen)) & set(labelled.types)
    assert set(roles.headline) <= {*roles.seen, *roles.unseen}
    groups = table["group"].to_numpy()
    if table["split"].to_numpy()[labelled.positions[0]] == "test":
        anomalies = np.concatenate([roles.seen, roles.unseen])
        assert not set(groups[anomalies]) & set(groups[labelled.positions])


def test_the_pool_is_the_training_side_where_it_has_anomalies() -> None:
    table = layout({"a": 2}, {"a": 3, "b": 3})
    assert set(table["split"].to_numpy()[anomaly_pool(table)]) == {"train"}
    assert anomaly_pool(table).size == 2
    assert anomaly_pool(layout({}, {"a": 3, "b": 3})).size == 6
    assert anomaly_pool(layout({}, {})).size == 0


def test_examples_are_spread_evenly_and_a_short_type_is_filled_up_by_the_others() -> None:
    table = layout({"a": 30, "b": 2, "c": 30}, {"a": 1})
    labelled = draw_labelled(table, LabelBudget(3, 20), seed=0)
    assert types_at(table, labelled.positions) == {"a": 9, "b": 2, "c": 9}


def test_more_types_contain_fewer_for_a_seed() -> None:
    table = layout(dict.fromkeys("abcdef", 9), {"a": 1})
    types = [draw_labelled(table, LabelBudget(n, 6), seed=5).types for n in range(1, 7)]
    assert all(fewer == more[:-1] for fewer, more in pairwise(types))


def test_every_type_and_every_image_is_drawn_about_as_often() -> None:
    table = layout(dict.fromkeys("abcd", 5), {"a": 1})
    drawn: Counter[int] = Counter()
    types: Counter[str] = Counter()
    for seed in range(2000):
        labelled = draw_labelled(table, LabelBudget(1, 2), seed=seed)
        types.update(labelled.types)
        drawn.update(labelled.positions.tolist())
    # 500 of each type and 200 of each image, standard deviations of 19 and 13.
    assert all(abs(types[name] - 500) < 80 for name in "abcd")
    assert all(abs(drawn[image] - 200) < 60 for image in anomaly_pool(table))


def test_shared_anomalies_are_scored_by_every_fold() -> None:
    labelled = draw_labelled(layout({"a": 9}, {"a": 1}), LabelBudget(1, 2), seed=0)
    for fold in range(3):
        assert labelled_for_fold(labelled, fold, 3).tolist() == labelled.positions.tolist()
    with pytest.raises(ValueError, match=r"within 0\.\.2"):
        labelled_for_fold(labelled, 3, 3)


def test_listed_anomalies_are_scored_by_the_folds_that_list_them() -> None:
    table = layout({"a": 3, "b": 3, "c": 3}, {"a": 1, "c": 2})
    first, *_, last = anomaly_pool(table)
    lists = [np.array([last, last - 1]), np.array([first]), np.array([first, last])]
    labelled = listed_anomalies(table, lists)
    assert labelled.types == ("a", "c")
    assert labelled.positions.tolist() == [first, last - 1, last]
    for number, listed in enumerate(lists):
        assert labelled_for_fold(labelled, number, 3).tolist() == listed.tolist()
    roles = evaluation_roles(table, labelled)
    assert types_at(table, roles.headline) == {"a": 1, "c": 2}


def test_the_headline_is_every_test_anomaly_when_the_pool_is_on_the_training_side() -> None:
    table = layout({"a": 5, "b": 5}, {"a": 2, "b": 3, "c": 4})
    labelled = draw_labelled(table, LabelBudget(1, 3), seed=0)
    roles = evaluation_roles(table, labelled)
    assert types_at(table, roles.headline) == {"a": 2, "b": 3, "c": 4}
    assert set(types_at(table, roles.seen)) == set(labelled.types)
    assert roles.normals.size == 4


def test_the_headline_is_the_unseen_types_when_anomalies_were_borrowed_from_the_test_side() -> None:
    table = layout({}, {"a": 6, "b": 6, "c": 6})
    labelled = draw_labelled(table, LabelBudget(1, 4), seed=0)
    roles = evaluation_roles(table, labelled)
    assert roles.headline.tolist() == roles.unseen.tolist()
    assert types_at(table, roles.unseen) == {
        name: 6 for name in "abc" if name not in labelled.types
    }
    assert types_at(table, roles.seen) == {labelled.types[0]: 2}


def test_the_headline_of_the_only_type_is_what_the_search_left_of_it() -> None:
    table = layout({}, {"defective": 6})
    roles = evaluation_roles(table, draw_labelled(table, LabelBudget(1, 4), seed=0))
    assert roles.unseen.size == 0
    assert roles.headline.tolist() == roles.seen.tolist()
    assert roles.headline.size == 2


def test_anomalies_of_a_borrowed_object_leave_the_test_and_its_normals_stay() -> None:
    objects = [(1, ""), (1, "crack"), (1, "crack"), (1, "stain"), (2, "crack"), (3, "stain")]
    rows = [(int(kind != ""), kind, f"object_{number}", "test") for number, kind in objects]
    table = pd.DataFrame(rows, columns=["label", "anomaly_type", "group", "split"])
    labelled = LabelledAnomalies(np.array([1]), ("crack",), "shared")
    roles = evaluation_roles(table, labelled)
    assert roles.normals.tolist() == [0]
    assert roles.seen.tolist() == [4]
    assert roles.unseen.tolist() == roles.headline.tolist() == [5]


def test_a_test_side_without_normals_or_with_every_anomaly_drawn_is_refused() -> None:
    without_normals = layout({"a": 3}, {"a": 3}, n_test_normals=0)
    with pytest.raises(DataError, match="test normals: there are none"):
        evaluation_roles(without_normals, draw_labelled(without_normals, LabelBudget(1, 3), seed=0))
    borrowed = layout({}, {"a": 3})
    with pytest.raises(DataError, match="test anomalies: none is left"):
        evaluation_roles(borrowed, draw_labelled(borrowed, LabelBudget(1, 3), seed=0))


@pytest.mark.parametrize(
    ("train", "asked", "words"),
    [
        ({"a": 9, "b": 9}, LabelBudget(3, 3), "n_anomaly_types is 3, the data has 2"),
        ({}, LabelBudget(1, 1), "n_anomaly_types is 1, the data has 0"),
        ({"a": 9}, LabelBudget(1, 10), "n_examples is 10, a hold 9"),
        ({"a": 4, "b": 4}, LabelBudget(2, 9), "n_examples is 9, ., . hold 8"),
    ],
)
def test_a_budget_that_the_data_cannot_meet_is_refused_in_one_line(
    train: dict[str, int], asked: LabelBudget, words: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        draw_labelled(layout(train, {}), asked, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("n_types", "n_examples", "words"),
    [(0, 5, "n_anomaly_types: 0 is too few"), (4, 3, "n_examples: 3 is too few for 4")],
)
def test_a_budget_without_a_type_or_an_example_of_each_is_refused(
    n_types: int, n_examples: int, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        LabelBudget(n_types, n_examples)
