import numpy as np
import pytest

from hpsearch.errors import DataError
from hpsearch.evaluation.delong import FoldScores

NORMALS = (np.zeros((2, 4)), np.ones((2, 3)))
ANOMALIES = np.arange(12.0).reshape(2, 2, 3)


def test_all_anomalies_count_in_every_fold_unless_told_otherwise():
    assert FoldScores(NORMALS, ANOMALIES).counts.tolist() == [[True] * 3] * 2


def test_units_are_images_without_groups_and_with_a_single_one():
    for groups in (None, np.array(["a", "a", "a"], dtype=object)):
        scores = FoldScores(NORMALS, ANOMALIES, anomaly_groups=groups)
        assert scores.anomaly_units.tolist() == [0, 1, 2]
    assert scores.normal_units.tolist() == list(range(7))


def test_a_group_is_one_unit_across_folds():
    groups = (np.array(["s", "s", "t", "t"]), np.array(["s", "u", "u"]))
    scores = FoldScores(NORMALS, ANOMALIES, normal_groups=groups)
    assert scores.normal_units.tolist() == [0, 0, 1, 1, 0, 2, 2]


def test_a_part_of_the_anomalies_keeps_their_scores_and_drops_folds_that_count_none():
    scored = np.array([[True, False, False], [False, True, True]])
    part = FoldScores(NORMALS, ANOMALIES, scored).with_anomalies(np.array([False, True, True]))
    assert part.anomalies.tolist() == ANOMALIES[:, [1]][:, :, [1, 2]].tolist()
    assert len(part.normals) == 1
    assert part.normals[0] is NORMALS[1]


def test_no_anomaly_left_is_refused():
    with pytest.raises(DataError, match="there are none"):
        FoldScores(NORMALS, ANOMALIES).with_anomalies(np.zeros(3, dtype=bool))


def test_scores_that_have_no_rank_are_refused():
    broken = ANOMALIES.copy()
    broken[0, 1, 2] = np.nan
    with pytest.raises(DataError, match="1 are not finite"):
        FoldScores(NORMALS, broken)
    shown = np.array([[True, True, True], [True, True, False]])
    FoldScores(NORMALS, broken, shown)  # what no fold counts may be anything


@pytest.mark.parametrize(
    ("normals", "anomalies"),
    [((np.zeros((2, 4)), np.zeros((2, 0))), ANOMALIES), (NORMALS, np.zeros((2, 2, 0)))],
)
def test_a_missing_class_is_refused(normals, anomalies):
    with pytest.raises(DataError, match="a ROC AUC needs both"):
        FoldScores(normals, anomalies)


@pytest.mark.parametrize(
    "parts",
    [
        {"normals": NORMALS[:1]},
        {"normals": (np.zeros((2, 4)), np.zeros((3, 4)))},
        {"scored": np.ones((2, 2), dtype=bool)},
        {"anomaly_groups": np.zeros(2)},
        {"normal_groups": (np.zeros(4), np.zeros(4))},
    ],
)
def test_shapes_that_do_not_fit_are_refused(parts):
    with pytest.raises(ValueError, match="must be"):
        FoldScores(**{"normals": NORMALS, "anomalies": ANOMALIES, **parts})
