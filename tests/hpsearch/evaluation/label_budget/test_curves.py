from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hpsearch.errors import DataError, SpecError
from hpsearch.evaluation.label_budget.curves import HeldOut, budget_curves, needed_models
from hpsearch.evaluation.label_budget.simulation import Question, simulate
from hpsearch.evaluation.stored_scores import StoredScores

Made = Callable[..., StoredScores]
QUESTION = Question(types=(1, 2), examples=(1, 2, 6), repeats=12, seed=5)


def test_a_point_sums_up_its_draws(made: Made) -> None:
    scores = made()
    simulation = simulate(scores, QUESTION, "shared")
    curves = budget_curves(simulation, scores, "final")
    overall = HeldOut(scores, "final").overall()
    assert [(p.cell.n_types, p.cell.n_examples) for p in curves.points] == [
        *((1, 1), (1, 2), (1, 6)),
        *((2, 2), (2, 6)),
    ]
    for point, choices in zip(curves.points, simulation.choices, strict=True):
        aurocs = overall[choices.configurations]
        interval = stats.ttest_1samp(aurocs, 0.5).confidence_interval(0.95)
        assert point.mean == pytest.approx(aurocs.mean())
        assert point.std == pytest.approx(np.std(aurocs, ddof=1))
        assert (point.low, point.high) == pytest.approx((interval.low, interval.high))
        assert point.regret == pytest.approx(overall.max() - aurocs.mean())
        assert sum(times for _, times in point.chosen) == QUESTION.repeats
        often = {scores.trials[number].number for number in choices.configurations}
        assert {trial for trial, _ in point.chosen} == often
        times = [count for _, count in point.chosen]
        assert times == sorted(times, reverse=True)
    assert (curves.best, curves.worst) == (overall.max(), overall.min())


def test_regret_is_from_the_best_of_the_same_draw(made: Made) -> None:
    """Labelled anomalies of the test images leave each draw others to be tested on."""
    scores = made(borrowed=True)
    simulation = simulate(scores, QUESTION, "shared")
    held_out = HeldOut(scores, "folds")
    for choices, point in zip(
        simulation.choices, budget_curves(simulation, scores, "folds").points, strict=True
    ):
        test = held_out.aurocs(choices.draws, simulation.type_of)
        assert test is not None
        best, rows = test.max(axis=0), np.arange(QUESTION.repeats)
        assert len(set(best)) > 1
        lost = best - test[choices.configurations, rows]
        assert point.regret == pytest.approx(lost.mean())


def test_a_perfect_validation_finds_the_best(made: Made) -> None:
    """One configuration ranks every anomaly above every normal, in the folds and in the test."""
    scores = made()
    scores.pool_scores[3] = 100
    scores.final_test_scores[3] = scores.table["label"].to_numpy()[scores.test]
    curves = budget_curves(simulate(scores, QUESTION, "shared"), scores, "final")
    assert [(point.mean, point.std, point.regret) for point in curves.points] == [(1, 0, 0)] * 5
    assert {point.chosen for point in curves.points} == {((6, 12),)}


def test_the_same_seed_draws_the_same_and_another_does_not(made: Made) -> None:
    scores = made()
    asked = replace(QUESTION, examples=(3, 6))
    one, two, other = (
        budget_curves(simulate(scores, replace(asked, seed=seed), "partition"), scores, "folds")
        for seed in (1, 1, 2)
    )
    assert one == two
    assert one.points != other.points


def test_models_are_needed_of_the_chosen_and_of_the_best_and_worst_by_folds(made: Made) -> None:
    scores = made()
    simulation = simulate(scores, QUESTION, "shared")
    needed = needed_models(simulation, scores)
    by_folds = HeldOut(scores, "folds").overall()
    chosen = {int(number) for each in simulation.choices for number in each.configurations}
    assert set(needed) == chosen | {by_folds.argmax(), by_folds.argmin()}
    with pytest.raises(ValueError, match="no final model"):
        budget_curves(simulation, made(without_final=(min(chosen),)), "final")


def test_models_that_nothing_needs_may_be_missing(made: Made) -> None:
    scores = made(configurations=9, without_final=(8,))
    scores.pool_scores[8] = -1  # never chosen
    overall = HeldOut(made(configurations=9), "final").overall()
    curves = budget_curves(simulate(scores, QUESTION, "shared"), scores, "final")
    assert (curves.n_models, curves.n_configurations) == (8, 9)
    assert curves.best == overall[:8].max()


def test_a_single_draw_has_no_spread(made: Made) -> None:
    scores = made()
    curves = budget_curves(simulate(scores, Question(repeats=1), "shared"), scores, "final")
    assert {(point.std, point.low, point.high) for point in curves.points} == {(None, None, None)}


def test_cells_that_leave_nothing_to_test_on_are_left_out(made: Made) -> None:
    scores = made(borrowed=True, sizes={"a": 6})
    question = Question(types=(1,), examples=(1, 6))
    curves = budget_curves(simulate(scores, question, "shared"), scores, "folds")
    assert [point.cell.n_examples for point in curves.points] == [1]
    assert curves.borrowed
    with pytest.raises(DataError, match=r"^test anomalies: a draw leaves none"):
        only = simulate(scores, replace(question, examples=(6,)), "shared")
        budget_curves(only, scores, "folds")


def test_no_draw_is_one_line() -> None:
    with pytest.raises(SpecError, match=r"^--repeats: 0 is too few; ask for at least 1$"):
        Question(repeats=0)
