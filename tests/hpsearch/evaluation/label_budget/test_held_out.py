from collections.abc import Callable

import numpy as np
import pytest

from hpsearch.errors import DataError
from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.label_budget.cells import BudgetCell, Orders
from hpsearch.evaluation.label_budget.curves import HeldOut
from hpsearch.evaluation.stored_scores import StoredScores
from hpsearch.protocol.labels import LabelledAnomalies, evaluation_roles

Made = Callable[..., StoredScores]


def _orders(scores: StoredScores) -> Orders:
    types = scores.table["anomaly_type"].to_numpy()[scores.pool]
    return Orders(types, repeats=25, seed=0, deepest=9)


@pytest.mark.parametrize("borrowed", [False, True])
@pytest.mark.parametrize(
    "cell", [BudgetCell(1, 1, 3), BudgetCell(1, 4, 3), BudgetCell(2, 6, 3), BudgetCell(3, 6, 3)]
)
def test_a_draw_is_tested_on_what_a_study_would_test_on(
    borrowed: bool, cell: BudgetCell, made: Made
) -> None:
    scores = made(borrowed=borrowed)
    orders = _orders(scores)
    draws = orders.draw(cell)
    found = HeldOut(scores, "final").aurocs(draws, orders.type_of)
    assert found is not None
    place = {position: column for column, position in enumerate(scores.test)}
    for repeat, drawn in enumerate(draws.selected):
        types = tuple(orders.names[draws.types[repeat]])
        roles = evaluation_roles(
            scores.table, LabelledAnomalies(scores.pool[drawn], types, "shared")
        )
        normals, anomalies = ([place[p] for p in part] for part in (roles.normals, roles.headline))
        for number, of_test in enumerate(scores.final_test_scores):
            expected = auroc(of_test[normals], of_test[anomalies])
            assert found[number, repeat] == pytest.approx(expected, abs=1e-12)


def test_a_draw_that_leaves_nothing_to_test_on_has_no_figure(made: Made) -> None:
    scores = made(borrowed=True, sizes={"a": 4})
    orders = _orders(scores)
    held_out = HeldOut(scores, "folds")
    assert held_out.aurocs(orders.draw(BudgetCell(1, 1, 1)), orders.type_of) is not None
    assert held_out.aurocs(orders.draw(BudgetCell(1, 4, 1)), orders.type_of) is None


def test_the_figure_of_the_folds_is_the_mean_over_their_models(made: Made) -> None:
    scores = made()
    anomalous = scores.table["label"].to_numpy()[scores.test] == 1
    for number, overall in enumerate(HeldOut(scores, "folds").overall()):
        each = [auroc(of[~anomalous], of[anomalous]) for of in scores.fold_test_scores[number]]
        assert overall == pytest.approx(np.mean(each))


def test_a_configuration_without_a_final_model_has_no_figure(made: Made) -> None:
    overall = HeldOut(made(without_final=(1, 3)), "final").overall()
    assert np.isnan(overall).tolist() == [False, True, False, True, False]


def test_a_test_set_of_one_class_is_one_line(made: Made) -> None:
    scores = made()
    scores.table.loc[scores.test, "label"] = 0
    with pytest.raises(DataError, match=r"^test images: .* add some$"):
        HeldOut(scores, "folds")
