import numpy as np

from hpsearch.reports.examples.store import choose_examples

SCORES = np.array([0.1, 5.0, 0.3, 4.0, 0.2, 9.0, 1.0, np.nan])
NORMALS, ANOMALIES = np.array([0, 1, 2, 3, 4]), np.array([5, 6])


def test_the_clearest_and_the_most_wrong_are_chosen() -> None:
    found = choose_examples(SCORES, NORMALS, ANOMALIES, each=2)
    assert [(one.kind, one.position) for one in found] == [
        ("most_normal", 0),
        ("most_normal", 4),
        ("most_anomalous", 5),
        ("most_anomalous", 6),
        ("false_alarm", 1),
        ("false_alarm", 3),
    ]
    assert all(one.score == SCORES[one.position] for one in found)


def test_an_image_is_chosen_once() -> None:
    positions = [one.position for one in choose_examples(SCORES, NORMALS, ANOMALIES, each=4)]
    assert sorted(positions) == sorted({*NORMALS, *ANOMALIES})
    one = choose_examples(SCORES, NORMALS, ANOMALIES, each=1)
    assert [(each.kind, each.position) for each in one] == [
        ("most_normal", 0),
        ("most_anomalous", 5),
        ("false_alarm", 1),
        ("miss", 6),
    ]
