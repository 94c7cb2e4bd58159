"""The figures of the search, of studies that are made by hand."""

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from hpsearch.reports.document import Table, Text
from hpsearch.reports.draw_plotly import plotly_figure
from hpsearch.reports.heat_table import Heat, heat, heat_axes, heat_block
from hpsearch.reports.search_figures import (
    Importance,
    axis_importance,
    history_figure,
    importance_block,
    learning_block,
    learning_curves,
    parallel_block,
    parallel_lines,
    search_history,
)
from hpsearch.reports.study_data import StudyData

SIZES, LAYERS = (4, 16, 64), ("r12", "<i>r22</i>")


def _data(values: dict[tuple[int, str], float], failed: int = 0) -> Any:
    """What these figures read of a study whose value is told for size and layer."""
    study = optuna.create_study(direction="maximize")
    distributions = {
        "latent_dim": CategoricalDistribution(SIZES),
        "layers": CategoricalDistribution(LAYERS),
    }
    for (size, layer), value in values.items():
        study.add_trial(
            create_trial(
                params={"latent_dim": size, "layers": layer},
                distributions=distributions,
                value=value,
                user_attrs={
                    "tasks": [],
                    "weak": value,
                    "fold_values": {"weak": [value - 0.1, value, value + 0.1]},
                },
            )
        )
    for _ in range(failed):
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"tasks": []}))
    return _facts(study, ("latent_dim", "layers"))


def _facts(study: optuna.Study, varied: tuple[str, ...]) -> Any:
    trials = tuple(study.get_trials(states=(TrialState.COMPLETE,)))
    facts = SimpleNamespace(study=study, trials=trials, criterion="weak", varied=varied)
    facts.spec = SimpleNamespace(detector="dpa")
    facts.result = SimpleNamespace(params=max(trials, key=lambda trial: trial.value or 0).params)
    facts.configuration = lambda trial: StudyData.configuration(facts, trial)
    facts.choice = lambda trial, axis: StudyData.choice(facts, trial, axis)
    return facts


def _several() -> Any:
    """Two detectors with an axis in common and one of its own each; patch is the better."""
    study = optuna.create_study(direction="maximize")
    choices = {
        "features": {"layer": ("s3", "s4"), "kind": ("knn", "pca")},
        "patch": {"layer": ("s3", "s4"), "pool": ("max", "mean")},
    }
    for detector, axes in choices.items():
        for layer in axes["layer"]:
            for other in list(axes.values())[1]:
                params = {"detector": detector, f"{detector}.layer": layer}
                params[f"{detector}.{list(axes)[1]}"] = other
                distributions = {"detector": CategoricalDistribution(tuple(choices))} | {
                    f"{detector}.{axis}": CategoricalDistribution(of) for axis, of in axes.items()
                }
                value = 0.6 + 0.2 * (detector == "patch") + 0.1 * (layer == "s4")
                attributes = {"tasks": [], "weak": value, "fold_values": {"weak": [value]}}
                study.add_trial(
                    create_trial(
                        params=params,
                        distributions=distributions,
                        value=value,
                        user_attrs=attributes,
                    )
                )
    facts = _facts(study, ())
    facts.varied = StudyData.varied.func(facts)  # type: ignore[attr-defined]
    return facts


def test_axes_of_several_detectors_stand_under_their_own_names() -> None:
    data = _several()
    assert data.varied == ("detector", "layer", "kind", "pool")
    lines = parallel_lines(data)
    assert lines.axes == data.varied
    assert lines.choices[2] == ("knn", "pca", "–")
    found = heat(data, *heat_axes(data.varied, ()))
    assert (found.row_axes, found.column_axis) == (("detector",), "layer")
    assert found.rows == ("features", "patch")
    assert found.cells["patch", "s4"].value == pytest.approx(0.9)


def test_importance_is_of_the_axes_of_the_winners_detector() -> None:
    importance = axis_importance(_several())
    assert importance is not None
    assert importance.n_trials == 4
    assert importance.shares == pytest.approx({"patch.layer": 1.0, "patch.pool": 0.0})


GRID = {(size, layer): 0.5 + 0.001 * size for size in SIZES for layer in LAYERS}


def test_history_is_the_best_so_far() -> None:
    values = {(4, "r12"): 0.6, (16, "r12"): 0.5, (64, "r12"): 0.7}
    found = search_history(_data(values, failed=2))
    assert found.values.tolist() == [0.6, 0.5, 0.7]
    assert found.best.tolist() == [0.6, 0.6, 0.7]
    block = history_figure(found)
    assert "2 failed" in block.caption
    assert "3 complete" in block.caption
    assert "0.700, is that of trial 2" in block.alt


def test_texts_of_others_are_escaped_in_figures() -> None:
    data = _data(GRID)
    for figure in (history_figure(search_history(data)), parallel_block(parallel_lines(data))):
        drawn = str(plotly_figure(figure.drawing).to_json())  # type: ignore[union-attr]
        assert "<i>" not in drawn
        assert "&lt;i&gt;r22" in drawn


def test_the_axis_that_decides_is_the_important_one() -> None:
    found = axis_importance(_data(GRID))
    assert found is not None
    assert next(iter(found.shares)) == "latent_dim"
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert "so few are a hint" in importance_block(found).caption  # type: ignore[union-attr]
    many = importance_block(Importance({"a": 1.0}, 20))
    assert "hint" not in many.caption  # type: ignore[union-attr]


def test_values_and_shares_are_those_that_optuna_draws() -> None:
    """Of a study that holds no trials but ours; see the module on why it does not draw them."""
    data = _data({key: value + 0.0001 * n for n, (key, value) in enumerate(GRID.items())})
    history = search_history(data)
    values, best, _infeasible = optuna.visualization.plot_optimization_history(data.study).data
    np.testing.assert_array_equal(history.values, values.y)
    np.testing.assert_array_equal(history.best, best.y)
    found = axis_importance(data)
    assert found is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (bars,) = optuna.visualization.plot_param_importances(data.study).data
    assert dict(zip(bars.y, bars.x, strict=True)) == pytest.approx(found.shares)


@pytest.mark.parametrize(
    "values",
    [
        {(4, "r12"): 0.5},
        {(4, "r12"): 0.5, (16, "r12"): 0.6, (64, "r12"): 0.7},
        dict.fromkeys(GRID, 0.5),
    ],
)
def test_too_few_or_equal_trials_have_no_importance(values: Any) -> None:
    found = axis_importance(_data(values))
    assert found is None
    assert isinstance(importance_block(found), Text)


def test_heat_holds_the_best_trial_of_each_place() -> None:
    data = _data({key: value for key, value in GRID.items() if key != (4, "r12")})
    found = heat(data, ("latent_dim",), "layers")
    assert found.rows == ("latent_dim=4", "latent_dim=16", "latent_dim=64")  # not by their letters
    assert found.columns == ("<i>r22</i>", "r12")
    cell = found.cells[("latent_dim=64", "r12")]
    assert (cell.value, cell.low, cell.high) == pytest.approx((0.564, 0.464, 0.664))
    block = heat_block(found)
    assert isinstance(block, Table)
    assert block.rows[0][2] == "not tried"
    assert block.rows[2][2] == "0.564\n(0.464 – 0.664)\ntrial 3"
    assert block.shades[0][1] is None
    assert block.shades[2][1] == 1.0


def test_heat_takes_the_best_over_other_axes() -> None:
    found = heat(_data(GRID), (), "layers")
    assert isinstance(found, Heat)
    assert [cell.value for cell in found.cells.values()] == pytest.approx([0.564, 0.564])
    assert {cell.n_trials for cell in found.cells.values()} == {3}


@pytest.mark.parametrize(
    ("varied", "ranking", "expected"),
    [
        (("latent_dim", "latent_res", "layers"), (), (("latent_dim", "latent_res"), "layers")),
        (("kind", "layer", "greyscale"), ("layer", "kind"), (("kind",), "layer")),
        (("greyscale", "equalize"), ("equalize",), (("greyscale",), "equalize")),
        (("layers",), (), ((), "layers")),
        (("latent_dim",), (), (("latent_dim",), "latent_dim")),
    ],
)
def test_the_axes_of_the_heat_table(varied: Any, ranking: Any, expected: Any) -> None:
    assert heat_axes(varied, ranking) == expected


def test_lines_go_through_choices_to_values() -> None:
    data = _data(GRID)
    found = parallel_lines(data)
    assert found.choices == (("4", "16", "64"), ("<i>r22</i>", "r12"))
    sizes = [SIZES.index(trial.params["latent_dim"]) for trial in data.trials]
    assert np.rint(found.places[:, 0] * 2).tolist() == sizes
    assert found.places[:, -1].min() == 0.0
    assert found.places[:, -1].max() == 1.0
    assert found.rank.tolist().count(2) == 1
    rows = parallel_block(found).numbers.rows  # type: ignore[union-attr]
    assert ("latent_dim", "16", "2", "0.516", "0.516") in rows


NAN = np.nan


def _run(train: list[float], held_out: list[float]) -> Any:
    steps = [10 * (number + 1) for number in range(len(train))]
    curve = pd.DataFrame({"step": steps, "train_loss": train, "held_out_loss": held_out})
    return SimpleNamespace(curve=curve, best_step=20)


def test_a_curve_is_of_held_out_normals_where_there_are_some() -> None:
    folds = (_run([5.0, 4.0, 3.0], [1.0, NAN, 0.5]),)
    finals = (_run([2.0, 1.0], [NAN, NAN]),)
    fold, final = learning_curves(SimpleNamespace(folds=folds, finals=finals))  # type: ignore[arg-type]
    assert (fold.name, fold.held_out, fold.losses.tolist()) == ("fold 0", True, [1.0, 0.5])
    assert fold.steps.tolist() == [10, 30]
    assert (final.name, final.held_out, final.losses.tolist()) == ("final 1", False, [2.0, 1.0])


def test_a_detector_without_steps_has_no_curve() -> None:
    data = SimpleNamespace(folds=(_run([], []),), finals=())
    curves = learning_curves(data)  # type: ignore[arg-type]
    assert curves == ()
    assert isinstance(learning_block(curves), Text)
