"""Folds are disjoint by group, cover every training normal, and repeat for a seed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpsearch.errors import DataError
from hpsearch.protocol.folds import Fold, final_split, make_folds


def normals_of(groups: list[str]) -> pd.DataFrame:
    """Training normals of these groups, with a test normal and a training anomaly between them."""
    rows = [("test_normal", 0, "test")]
    rows += [(group, 0, "train") for group in groups]
    rows += [(groups[0] if groups else "other", 1, "train")]
    return pd.DataFrame(rows, columns=["group", "label", "split"])


# (group of each image, folds, held-out fraction, seed) where the folds can be made.
possible = st.tuples(
    st.lists(st.integers(0, 30), max_size=60).map(lambda drawn: [*drawn, *range(8)]),
    st.integers(2, 5),
    st.floats(0.05, 0.5),
    st.integers(0, 2**32 - 1),
)


@given(possible)
@settings(deadline=None)
def test_folds_are_disjoint_by_group_and_cover_the_training_normals(
    case: tuple[list[int], int, float, int],
) -> None:
    numbers, n_folds, fraction, seed = case
    table = normals_of([f"slide_{number}" for number in numbers])
    folds = make_folds(table, n_folds=n_folds, early_stop_fraction=fraction, seed=seed)
    groups = table["group"].to_numpy()
    everything = final_split(table).tolist()
    for fold in folds:
        parts = (fold.train, fold.early_stop, fold.scored)
        assert all(part.size for part in parts)
        assert sorted(np.concatenate(parts)) == everything
        names = [set(groups[part]) for part in parts]
        assert sum(map(len, names)) == len(set.union(*names))
    assert len(folds) == n_folds
    assert sorted(np.concatenate([fold.scored for fold in folds])) == everything


def as_lists(folds: tuple[Fold, ...]) -> list[list[list[int]]]:
    return [[part.tolist() for part in (f.train, f.early_stop, f.scored)] for f in folds]


def test_folds_repeat_for_a_seed_and_not_for_another() -> None:
    table = normals_of([f"patient_{number % 20}" for number in range(60)])
    first = as_lists(make_folds(table, seed=3))
    assert first == as_lists(make_folds(table, seed=3))
    other = as_lists(make_folds(table, seed=4))
    for one, two in zip(first, other, strict=True):
        assert all(part != changed for part, changed in zip(one, two, strict=True))


def test_folds_of_a_group_do_not_hang_on_the_order_of_rows() -> None:
    table = normals_of([f"patient_{number % 20}" for number in range(60)])
    turned = table[::-1].reset_index(drop=True)

    def scored_groups(frame: pd.DataFrame) -> list[set[str]]:
        folds = make_folds(frame, seed=3)
        return [set(frame["group"].to_numpy()[fold.scored]) for fold in folds]

    assert scored_groups(table) == scored_groups(turned)


def test_folds_take_a_third_to_score_and_a_fifth_of_the_rest_to_stop_early() -> None:
    table = normals_of([f"image_{number}" for number in range(300)])
    for fold in make_folds(table, seed=0):
        assert (fold.train.size, fold.early_stop.size, fold.scored.size) == (160, 40, 100)


def test_final_split_is_every_training_normal_in_order() -> None:
    table = normals_of(["a", "b", "a"])
    assert final_split(table).tolist() == [1, 2, 3]


def test_the_fewest_groups_that_three_folds_can_be_made_of() -> None:
    assert len(make_folds(normals_of(["a", "b", "c"]), seed=0)) == 3


@pytest.mark.parametrize(
    ("groups", "n_folds", "fraction"),
    [
        ([], 3, 0.2),
        (["a", "b"], 3, 0.2),
        (["a"] * 50, 3, 0.2),
        (["a", "b", "c"], 2, 0.2),  # one fold would have one group, for training and holding out
        (["a"] * 9 + ["b", "c", "d"], 2, 0.2),  # one fold would train on a alone
    ],
)
def test_too_few_groups_are_refused_in_one_line(
    groups: list[str], n_folds: int, fraction: float
) -> None:
    with pytest.raises(DataError, match=r"training normals: \d groups are too few") as caught:
        make_folds(normals_of(groups), n_folds=n_folds, early_stop_fraction=fraction, seed=0)
    assert "\n" not in str(caught.value)


uneven = st.tuples(
    st.lists(st.integers(1, 200), min_size=6, max_size=30),  # images of each group
    st.integers(3, 5),
    st.floats(0.05, 0.9),
    st.integers(0, 2**32 - 1),
)


@given(uneven)
@settings(deadline=None, max_examples=40)
def test_folds_are_as_even_by_images_as_whole_groups_allow(
    case: tuple[list[int], int, float, int],
) -> None:
    sizes, n_folds, fraction, seed = case
    table = normals_of([f"g{number}" for number, size in enumerate(sizes) for _ in range(size)])
    folds = make_folds(table, n_folds=n_folds, early_stop_fraction=fraction, seed=seed)
    groups = table["group"].to_numpy()
    for one in folds:
        for other in folds:
            # No group could move to a smaller fold and leave the larger of the two smaller.
            for size in np.unique(groups[one.scored], return_counts=True)[1]:
                assert max(one.scored.size - size, other.scored.size + size) >= one.scored.size
        held = np.unique(groups[one.early_stop], return_counts=True)[1]
        fitted = one.train.size + one.early_stop.size
        smallest = np.unique(groups[np.union1d(one.train, one.early_stop)], return_counts=True)[1]
        assert held.sum() <= np.ceil(fraction * fitted) or list(held) == [smallest.min()]
        assert one.train.size > 0


def test_a_dominant_group_is_never_held_out_for_early_stopping() -> None:
    """Slides of 100, 6 and 6 normals: two folds train on 100, where it was dealt by number."""
    table = normals_of(["big"] * 100 + ["s1"] * 6 + ["s2"] * 6)
    for seed in range(10):
        sizes = sorted(
            (f.train.size, f.early_stop.size, f.scored.size) for f in make_folds(table, seed=seed)
        )
        assert sizes == [(6, 6, 100), (100, 6, 6), (100, 6, 6)]


def test_groups_are_split_only_when_told_to_and_only_large_ones() -> None:
    table = normals_of(["big"] * 100 + ["s1"] * 6 + ["s2"] * 6)
    groups = table["group"].to_numpy()
    folds = make_folds(table, seed=0, split_groups=True)
    assert sorted(np.concatenate([fold.scored for fold in folds])) == final_split(table).tolist()
    for fold in folds:
        assert fold.scored.size in (37, 38)
        assert fold.early_stop.size <= 15 == np.ceil(0.2 * 75)
        scored, seen = (set(groups[part]) for part in (fold.scored, fold.train))
        assert scored & seen <= {"big"}
    one_group = make_folds(normals_of(["only"] * 30), seed=0, split_groups=True)
    assert [fold.train.size for fold in one_group] == [16, 16, 16]


@pytest.mark.parametrize(("n_folds", "fraction"), [(1, 0.2), (3, 0.0), (3, 1.0)])
def test_options_out_of_range_are_refused(n_folds: int, fraction: float) -> None:
    with pytest.raises(ValueError, match="must be >= 2"):
        make_folds(normals_of(["a"] * 9), n_folds=n_folds, early_stop_fraction=fraction, seed=0)


def test_a_fold_is_named_by_all_its_parts() -> None:
    def digest(*parts: list[int]) -> str:
        train, early_stop, scored = map(np.array, parts)
        return Fold(train, early_stop, scored).digest

    same = digest([1, 2], [3], [4])
    assert digest([1, 2], [3], [4]) == same
    others = [digest([1], [2, 3], [4]), digest([1, 2], [3, 4], []), digest([1, 2], [4], [3])]
    assert len({same, *others}) == 4
