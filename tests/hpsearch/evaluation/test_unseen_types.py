from statistics import fmean

import numpy as np
import pytest

from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.delong import FoldScores
from hpsearch.evaluation.selection import leave_one_type_out

TYPES = np.array(["crack", "hole", "crack", "hole"], dtype=object)
NORMALS = np.tile(np.arange(10.0), (2, 1))


def scores(crack, hole) -> FoldScores:
    """Two configurations, with a score each for cracks and for holes."""
    anomalies = np.stack(
        [np.where(TYPES == "crack", c, h) for c, h in zip(crack, hole, strict=True)]
    )
    return FoldScores((NORMALS,), anomalies[:, None].astype(float))


def test_a_configuration_that_sees_one_type_only_pays_for_it():
    # The first sees cracks (9.5) and no holes (0.5); the second the other way round.
    found = leave_one_type_out(scores(crack=(9.5, 0.5), hole=(0.5, 9.5)), TYPES)
    crack, hole = found
    assert (crack.name, crack.n_anomalies, crack.chosen) == ("crack", 2, 1)
    assert (hole.name, hole.chosen) == ("hole", 0)
    assert crack.auroc == auroc(NORMALS[1], [0.5, 0.5])
    assert crack.best == 1.0
    assert fmean(one.auroc for one in found) == pytest.approx(0.1)


def test_a_configuration_that_is_good_at_both_is_chosen_and_kept():
    found = leave_one_type_out(scores(crack=(9.5, 5.5), hole=(9.5, 5.5)), TYPES)
    assert [one.chosen for one in found] == [0, 0]
    assert [one.auroc for one in found] == [1.0, 1.0]


def test_the_rule_of_choice_is_the_callers():
    found = leave_one_type_out(scores((9.5, 5.5), (9.5, 5.5)), TYPES, choose=lambda _: 1)
    assert fmean(one.auroc for one in found) == pytest.approx(0.6)


def test_partitioned_anomalies_keep_to_their_folds():
    shared = scores(crack=(9.5, 5.5), hole=(7.5, 5.5))
    dealt = np.array([[True, True, False, False], [False, False, True, True]])
    halves = FoldScores((NORMALS, NORMALS), np.repeat(shared.anomalies, 2, axis=1), dealt)
    assert leave_one_type_out(halves, TYPES) == leave_one_type_out(shared, TYPES)


def test_one_type_is_refused():
    with pytest.raises(DataError, match="at least two, there is 1"):
        leave_one_type_out(scores((1, 1), (1, 1)), np.array(["crack"] * 4))
