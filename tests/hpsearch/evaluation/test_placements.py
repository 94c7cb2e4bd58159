import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hpsearch.evaluation.delong import placements

SCORES = st.lists(st.integers(0, 9), min_size=1, max_size=30)


def test_by_hand():
    assert placements([5, 1, 9], among=[1, 2, 5, 5]).tolist() == [0.75, 0.125, 1.0]


@given(normals=SCORES, anomalies=SCORES)
def test_their_mean_is_the_auc(normals, anomalies):
    labels = [0] * len(normals) + [1] * len(anomalies)
    expected = roc_auc_score(labels, normals + anomalies)
    assert placements(anomalies, among=normals).mean() == pytest.approx(expected)


@given(normals=SCORES, anomalies=SCORES)
def test_seen_from_the_other_class_they_are_the_complement(normals, anomalies):
    of_normals = placements(normals, among=anomalies)
    assert 1 - of_normals.mean() == pytest.approx(placements(anomalies, among=normals).mean())


def test_an_infinite_score_lies_above_all():
    assert placements([np.inf], among=[0.0, 1.0]).tolist() == [1.0]
