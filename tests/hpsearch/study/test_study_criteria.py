"""A whole study, chosen by one criterion or another."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from hpsearch.config.spec import CRITERIA
from hpsearch.search.events import SilentListener
from hpsearch.storage.database import load_study, winner
from hpsearch.study.run import StudyRun, run_study

Run = Callable[..., StudyRun]


@pytest.fixture
def run(runs: Any, cache: Any, inline: list[str]) -> Run:
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    return lambda spec, **options: run_study(spec, listener=SilentListener(), **where, **options)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_named_criterion_chooses_the_winner(criterion: Any, run: Run, tiny_spec: Any) -> None:
    ran = run(tiny_spec(search={"criterion": criterion}))
    study = load_study(ran.folder.path)
    assert ran.results.keys() == {criterion}
    best = study.best_trial
    assert ran.result.trial == best.number
    assert ran.result.value == best.value == ran.result.criteria[criterion]
    assert {choice.criterion: choice.trial for choice in ran.result.choices} == {
        name: winner(study, name).number for name in CRITERIA
    }


def test_the_same_trainings_serve_every_criterion(run: Run, tiny_spec: Any) -> None:
    folders = [
        run(tiny_spec(study_name=name, search={"criterion": name})).folder for name in CRITERIA
    ]
    first, *others = (load_study(folder.path).get_trials() for folder in folders)
    for trials in others:
        assert [trial.user_attrs["fold_values"] for trial in trials] == [
            trial.user_attrs["fold_values"] for trial in first
        ]


def test_choices_of_all_criteria_are_trained_where_asked_for(
    run: Run, tiny_spec: Any, inline: list[str]
) -> None:
    one = run(tiny_spec())
    inline.clear()
    ran = run(tiny_spec(), criteria=CRITERIA)
    assert tuple(ran.results) == CRITERIA
    assert ran.result == ran.results["weak"] == one.result
    trials = {result.trial for result in ran.results.values()}
    trained = {digest for result in ran.results.values() for digest in result.tasks}
    assert len(trained) == len(trials) > 1
    assert set(inline) == trained - set(one.result.tasks), "what is there is not trained again"
    for name, result in ran.results.items():
        chosen = {choice.criterion: choice for choice in result.choices}[name]
        assert result.trial == chosen.trial
        assert result.criteria[name] == chosen.value
        assert chosen.regret >= 0
    assert {path.name for path in ran.folder.final.iterdir()} == {str(n) for n in trials}


def test_more_trials_bring_the_choices_up_to_date(
    run: Run, tiny_spec: Any, inline: list[str]
) -> None:
    """The winner by `weak` is among the first two, the one by `unsupervised` is not."""
    first = run(tiny_spec(search={"n_trials": 2, "sampler": "grid"})).result
    later = run(tiny_spec(search={"n_trials": 4, "sampler": "grid"})).result
    assert later.choices != first.choices
    inline.clear()
    assert run(tiny_spec(search={"n_trials": 4, "sampler": "grid"})).result == later
    assert not inline


def test_results_that_are_gone_are_trained_again_and_nothing_else(
    run: Run, tiny_spec: Any, inline: list[str]
) -> None:
    ran = run(tiny_spec())
    gone = inline[0]
    shutil.rmtree(ran.folder.tasks / gone)
    inline.clear()
    assert run(tiny_spec()).result == ran.result
    assert inline == [gone]
    (ran.folder.path / "study.db").unlink()
    assert run(tiny_spec()).result == ran.result
    assert inline == [gone]
