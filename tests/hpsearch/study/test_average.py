"""A final model that averages: its members, its files, and what it scores."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpsearch
from hpsearch.cli.summary import print_summary
from hpsearch.config.spec import StudySpec
from hpsearch.errors import UserError
from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.averaging import averaged_scores
from hpsearch.model.bundle import FACTS, find_model, read_bundle
from hpsearch.model.export.export import export
from hpsearch.model.model import AverageModel, load_model
from hpsearch.reports.dashboard.notes import study_note
from hpsearch.search.events import SilentListener
from hpsearch.storage.database import load_study
from hpsearch.storage.results import read_result, scores_at
from hpsearch.storage.run_dir import AVERAGE, RunDir
from hpsearch.study.average import averages
from hpsearch.study.result import final_runs, read_winner
from hpsearch.study.run import StudyRun, run_study
from tests.hpsearch.notes import Notes

Run = Callable[..., StudyRun]


@pytest.fixture
def run(runs: Path, cache: Path, inline: list[str]) -> Run:
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}

    def ran(spec: StudySpec, listener: Any = None) -> StudyRun:
        return run_study(spec, listener=listener or SilentListener(), **where)

    return ran


@pytest.fixture
def averaged(tiny_spec: Any) -> StudySpec:
    """Four configurations, all of which are averaged; two runs."""
    return tiny_spec(
        study_name="averaged",
        final={"model": "average", "n_runs": 2, "false_positive_rate": 0.1},
    )


@pytest.fixture
def folder(averaged: StudySpec, finished_study: Callable[..., RunDir]) -> RunDir:
    return finished_study(averaged)


def test_members_are_the_best_in_equal_parts(folder: RunDir) -> None:
    result = read_winner(folder)
    trials = {trial.number: trial.value for trial in load_study(folder.path).get_trials()}
    assert [one.trial for one in result.members] == sorted(trials, key=lambda n: (-trials[n], n))
    assert {one.weight for one in result.members} == {0.25}
    assert result.name == folder.winner() == AVERAGE
    assert result.trial in trials
    assert (folder.model(result.trial) / FACTS).is_file(), "the single is there beside it"
    assert result.single is not None
    assert result.price is not None
    assert result.price.average > 0 < result.price.single


def test_each_run_averages_the_members_run_in_units_of_its_own(folder: RunDir) -> None:
    result, table = read_winner(folder), folder.images()
    test = np.flatnonzero(table["split"] == "test")
    labels = table["label"].to_numpy()[test]
    for number, run in enumerate(final_runs(folder, result)):
        expected = np.zeros(len(test))
        for member in result.members:
            stored = read_result(folder.tasks, member.tasks[number])
            assert stored is not None
            scores, part = scores_at(stored, table, test), member.parts[number]
            expected += 0.25 * (scores - part.location) / part.scale
        np.testing.assert_allclose(scores_at(run, table, test), expected, rtol=1e-12)
        own = auroc(expected[labels == 0], expected[labels == 1])
        assert result.runs[number] == pytest.approx(own, abs=1e-12)


def test_the_model_scores_as_the_trainings_of_its_members_did(folder: RunDir, tiny: Path) -> None:
    result, table = read_winner(folder), folder.images()
    test = np.flatnonzero(table["split"] == "test")
    files = [tiny.parent / table["image_id"].iloc[position] for position in test]
    model = hpsearch.load(folder.path)
    scores = model.score(files)
    stored = scores_at(final_runs(folder, result)[0], table, test)
    np.testing.assert_allclose(scores, stored, rtol=1e-9, atol=1e-9)
    assert isinstance(model, AverageModel)
    by_hand = averaged_scores(
        [member.score(files) for member in model.members],
        [member.parts[0] for member in result.members],
    )
    np.testing.assert_allclose(scores, by_hand, rtol=1e-9, atol=1e-9)
    assert result.flagging is not None
    threshold = result.flagging.threshold.threshold
    np.testing.assert_array_equal(model.is_anomaly(scores), scores > threshold)
    assert (model.p_values(scores)[scores > threshold] <= 0.1).all()


def test_the_threshold_is_from_averaged_scores_of_held_out_normals(folder: RunDir) -> None:
    facts = read_bundle(find_model(folder.path, folder.path))
    assert facts.calibration is not None
    scores = np.array(facts.calibration.scores)
    assert len(scores) == 36, "every training normal once"
    assert abs(np.median(scores)) < 1, "the medians of the members are 0"
    assert (scores > facts.calibration.threshold).mean() <= 0.1


def test_running_again_changes_nothing(
    folder: RunDir, averaged: StudySpec, run: Run, inline: list[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.final.rglob("*") if path.is_file()}
    assert run(averaged).result == read_winner(folder)
    assert not inline
    assert before == {path: path.read_bytes() for path in before}


def test_what_was_killed_between_members_goes_on(
    folder: RunDir, averaged: StudySpec, run: Run, inline: list[str]
) -> None:
    before = read_winner(folder)
    shutil.rmtree(folder.final / AVERAGE)
    folder.winner_file.unlink()
    gone = before.members[2].tasks[1]
    shutil.rmtree(folder.tasks / gone)
    after = run(averaged).result
    assert inline == [gone]
    assert replace(after, price=None) == replace(before, price=None)


@pytest.mark.parametrize("where", [FACTS, "members/1/model.json", "members/2/model.safetensors"])
def test_a_damaged_average_is_made_anew(
    where: str, folder: RunDir, averaged: StudySpec, run: Run, inline: list[str]
) -> None:
    path, notes = folder.model(AVERAGE) / where, Notes()
    before, content = read_winner(folder), path.read_bytes()
    path.write_bytes(content[:-7])
    assert replace(run(averaged, notes).result, price=None) == replace(before, price=None)
    assert path.read_bytes() == content
    assert not inline
    assert any("made anew" in line for line in notes.lines)


def test_another_rate_sets_the_threshold_anew(
    folder: RunDir, averaged: StudySpec, run: Run
) -> None:
    before = read_bundle(folder.model(AVERAGE))
    final = averaged.final.model_copy(update={"false_positive_rate": 0.2})
    result = run(averaged.model_copy(update={"final": final})).result
    after = read_bundle(folder.model(AVERAGE))
    assert result.flagging is not None
    assert after.calibration is not None
    assert result.flagging.threshold.threshold == after.calibration.threshold
    assert after.model_copy(update={"calibration": before.calibration}) == before
    assert after.calibration.rate == 0.2


def test_the_single_is_as_it_is_without_an_average(
    folder: RunDir, averaged: StudySpec, run: Run, inline: list[str]
) -> None:
    final = averaged.final.model_copy(update={"model": "single"})
    single = run(averaged.model_copy(update={"final": final}))
    assert not inline
    assert single.folder.winner() == single.result.trial
    stored = json.loads(folder.result_file(single.result.trial).read_text())
    assert not {"members", "single", "price"} & stored.keys()
    alone = run(
        averaged.model_copy(update={"final": final, "study_name": "alone"}),
    )
    assert alone.result == single.result
    assert folder.result_file(single.result.trial).read_bytes() == (
        alone.folder.result_file(single.result.trial).read_bytes()
    )


def test_one_configuration_is_its_own_average(run: Run, tiny_spec: Any) -> None:
    space = {"features": {"kind": ["knn"], "layer": ["r12"]}}
    ran = run(tiny_spec(final={"model": "average"}, space=space))
    assert not ran.result.members
    assert ran.folder.winner() == ran.result.trial


def test_a_search_with_heads_averages_unless_one_detector_is_asked_for(tiny_spec: Any) -> None:
    assert not averages(tiny_spec())
    assert not averages(tiny_spec(detector="features,dpa"))
    assert averages(tiny_spec(detector="features,few"))
    assert not averages(tiny_spec(detector="features,few", final={"model": "single"}))
    assert not averages(tiny_spec(detector="features,few", search={"criterion": "synthetic"}))
    assert averages(tiny_spec(final={"model": "average"}))


def test_a_graph_of_the_average_gives_its_scores(folder: RunDir, tmp_path: Path) -> None:
    model = load_model(folder.model(AVERAGE), device="cpu")
    assert export(model, tmp_path / "graph", "torch").difference < 1e-4


def test_an_average_without_maps_says_so(folder: RunDir) -> None:
    model = load_model(folder.model(AVERAGE), device="cpu")
    with pytest.raises(UserError, match="none of the detectors of this average has maps"):
        model.maps(np.zeros((1, 16, 16, 3), np.uint8))


def test_it_is_told_what_the_members_have_not_in_common(folder: RunDir) -> None:
    result = read_winner(folder)
    assert result.in_words() == "average of 4 detectors"
    told = [tuple(result.settings_of(member)) for member in result.members]
    assert set(told) == {("kind", "layer")}
    heads = [replace(one, trained_on_labels=True) for one in result.members[:1]]
    joined = replace(result, members=(*result.members[1:], *heads))
    assert joined.in_words() == "average of 3 detectors and one trained on the labels"
    assert replace(result, members=(heads[0],)).in_words() == "detector trained on the labels"


@pytest.mark.parametrize("model", ["auto", "average"])
def test_the_head_has_half_of_the_average_or_stands_alone_where_it_holds(
    model: str, run: Run, tiny_spec: Any, tiny: Path
) -> None:
    """Two labelled types, each of which is left out in turn."""
    spec = tiny_spec(
        detector="features,few",
        labels={"n_anomaly_types": 2, "n_examples": 12},
        space={"few": {"layer": ["r12"], "inputs": ["both"], "kind": ["logistic"], "C": [0.003]}},
        final={"model": model, "false_positive_rate": 0.1},
    )
    ran = run(spec)
    *others, head = ran.result.members
    selection = ran.result.selection
    best = {one.name: one.best for one in selection.left_out_types}
    assert {one.name for one in selection.held_out_types} == best.keys() == {"blobs", "stripes"}
    holds = all(one.unseen >= best[one.name] for one in selection.held_out_types)
    assert (head.detector, head.trained_on_labels) == ("few", True)
    assert (head.weight, len(others)) == ((1.0, 0) if model == "auto" and holds else (0.5, 4))
    assert not any(one.trained_on_labels for one in others)
    table = ran.folder.images()
    test = np.flatnonzero(table["split"] == "test")
    stored = scores_at(final_runs(ran.folder, ran.result)[0], table, test)
    scores = hpsearch.load(ran.folder.path).score(
        [tiny.parent / table["image_id"].iloc[position] for position in test]
    )
    np.testing.assert_allclose(scores, stored, rtol=1e-6, atol=1e-6)


def test_the_dashboard_and_the_summary_say_that_it_is_an_average(
    folder: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    result = read_winner(folder)
    note = study_note(folder.spec(), n_complete=4, final=result, warnings=())
    assert f"The final model is the {result.in_words()}." in note
    single = replace(result, members=(), single=None, price=None)
    assert "The final model" not in study_note(
        folder.spec(), n_complete=4, final=single, warnings=()
    )
    print_summary(folder, result, json=False)
    assert result.in_words() in capsys.readouterr().out
    weak = replace(result.choices[0], criterion="weak", trial=result.trial + 1)
    for choice, taken in ((weak, True), (replace(weak, trial=result.trial), False)):
        print_summary(folder, replace(result, choices=(choice,)), json=False)
        said = " ".join(capsys.readouterr().out.split())
        assert (f"trial {result.trial} was taken of those that" in said) == taken
