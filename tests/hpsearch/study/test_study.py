import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import hpsearch.search.task
import hpsearch.study.run
from hpsearch.detectors.backbones.backbone import BUNDLED_VGG_MINI
from hpsearch.errors import NothingCompletedError, SpecError, StudyError
from hpsearch.model.model import Model, load_model
from hpsearch.search.engine import Workers
from hpsearch.search.events import SilentListener
from hpsearch.search.task import Task, TaskContext
from hpsearch.storage.database import load_study
from hpsearch.storage.results import RECIPE, FoldResult, read_result
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.inputs import StudyInputs
from hpsearch.study.result import COLOURS, frozen_rows
from hpsearch.study.run import StudyRun, run_study

REFERENCES = (*COLOURS, *frozen_rows("vgg-mini", ("r32", "r42")))

Run = Callable[..., StudyRun]


@pytest.fixture
def run(runs: Path, cache: Path, inline: list[str]) -> Run:
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    return lambda spec, **options: run_study(spec, listener=SilentListener(), **where, **options)


def _scores(folder: RunDir) -> dict[str, pd.DataFrame]:
    results = {path.name: read_result(folder.tasks, path.name) for path in folder.tasks.iterdir()}
    return {name: result.scores for name, result in results.items() if result is not None}


def test_a_study_from_start_to_answer(run: Run, tiny_spec: Any, inline: list[str]) -> None:
    ran = run(tiny_spec(final={"n_runs": 2}))
    folder, result = ran.folder, ran.result
    trials = load_study(folder.path).get_trials()
    assert len(trials) == 4
    assert result.value == max(trial.value for trial in trials)
    assert len(result.runs) == 2
    assert len(inline) == 4 * 3 + 2 + 4, "folds, final trainings and reference rows"
    assert result.test.n_normal == 12
    assert result.test.n_anomaly == 10
    assert result.seen is not None
    assert result.unseen is not None
    assert result.seen.n_anomaly + result.unseen.n_anomaly == 10
    assert (folder.final / str(result.trial) / "model").is_dir()
    facts = json.loads(folder.environment_file.read_text())
    assert facts["recipe"] == RECIPE
    assert facts["backbone"] == "vgg-mini"
    assert facts["versions"]["optuna"]


@pytest.mark.parametrize(
    ("began", "now", "says"),
    [
        ("cpu", ("cuda:0", "cuda:1"), "the study began on cpu and goes on on cuda:0, cuda:1"),
        ("cuda:0", ("cpu",), "the study began on cuda:0 and goes on on cpu"),
        ("cuda:0", ("cuda:0", "cuda:1"), None),
    ],
)
def test_another_device_is_told(
    began: str, now: tuple[str, ...], says: str | None, tmp_path: Path
) -> None:
    folder = RunDir(tmp_path)
    facts = {"device": began, "backbone_digest": "b", "data_fingerprint": "f"}
    folder.environment_file.write_text(json.dumps(facts))
    told = hpsearch.study.run._on_another_device(folder, Workers(1, 1, now))
    assert (told is None) == (says is None)
    assert told is None or told.startswith(f"{says}: ")


def test_running_again_trains_nothing_and_says_the_same(
    run: Run, tiny_spec: Any, inline: list[str]
) -> None:
    first = run(tiny_spec()).result
    inline.clear()
    assert run(tiny_spec()).result == first
    assert not inline


def test_two_runs_with_one_seed_give_identical_scores(
    run: Run, tiny_spec: Any, inline: list[str]
) -> None:
    """Of a DPA, in two run directories."""
    first = run(tiny_spec(detector="dpa", study_name="one"))
    second = run(tiny_spec(detector="dpa", study_name="two"))
    one, two = first.folder, second.folder
    assert len(inline) == len(_scores(one)) + len(_scores(two))
    assert first.results == second.results
    assert _scores(one).keys() == _scores(two).keys()
    for name, scores in _scores(one).items():
        pd.testing.assert_frame_equal(scores, _scores(two)[name], check_exact=True)


def test_another_seed_gives_other_folds(run: Run, tiny_spec: Any) -> None:
    one = run(tiny_spec(study_name="one")).folder
    two = run(tiny_spec(study_name="two", search={"seed": 1})).folder
    assert not _scores(one).keys() & set(_scores(two)) - _references(one)


def _references(folder: RunDir) -> set[str]:
    """Reference rows have one seed and no folds, whatever the study's seed."""
    written = {
        path.name: json.loads((path / "task.json").read_text()) for path in folder.tasks.iterdir()
    }
    return {name for name, task in written.items() if task["fold"] is None}


def test_more_final_runs_train_the_missing_ones_only(
    run: Run, tiny_spec: Any, inline: list[str]
) -> None:
    one = run(tiny_spec()).result
    inline.clear()
    three = run(tiny_spec(final={"n_runs": 3})).result
    assert len(inline) == 2
    assert len(three.runs) == 3
    assert three.runs[0] == one.runs[0]


def test_more_trials_go_on(run: Run, tiny_spec: Any, inline: list[str]) -> None:
    run(tiny_spec(search={"n_trials": 2, "sampler": "grid"}))
    folder = run(tiny_spec(search={"n_trials": 4, "sampler": "grid"})).folder
    folds = set(inline) - _references(folder)
    assert len(folds) == 12
    assert len(load_study(folder.path).get_trials()) == 4


def test_a_changed_study_is_refused(run: Run, tiny_spec: Any) -> None:
    run(tiny_spec())
    with pytest.raises(StudyError, match=r"search\.seed is 0 there and 5 now"):
        run(tiny_spec(search={"seed": 5}))


def test_a_changed_image_is_refused(run: Run, tiny_spec: Any, tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tiny.parent.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    spec = tiny_spec(dataset={"name": str(copy / tiny.name)})
    run(spec)
    image = copy / "train-normal-0.png"
    pixels = np.array(Image.open(image))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(image)
    with pytest.raises(StudyError, match="the pixels of the images differ"):
        run(spec)


def test_a_damaged_result_stops_the_study_and_its_deletion_mends_it(
    run: Run, tiny_spec: Any, inline: list[str]
) -> None:
    ran = run(tiny_spec())
    folder, first = ran.folder, ran.result
    (folder.path / "study.db").unlink()
    damaged = folder.tasks / inline[0]
    (damaged / "scores.csv").write_text("")
    with pytest.raises(StudyError, match=str(damaged)):
        run(tiny_spec())
    for path in damaged.iterdir():
        path.unlink()
    damaged.rmdir()
    inline.clear()
    again = run(tiny_spec()).result
    assert inline == [damaged.name]
    assert again == first


def test_every_trial_failed(run: Run, tiny_spec: Any, plugin: Path) -> None:
    says = r"no trial was completed: 1 of 1 configurations failed: trial 0 non_finite"
    with pytest.raises(NothingCompletedError, match=says):
        run(tiny_spec(detector="fragile", space={"fragile": {"mode": ["blank"]}}))


def test_a_check_of_a_plug_in_that_raises_is_one_line(
    run: Run, tiny_spec: Any, plugin: Path, runs: Path
) -> None:
    with pytest.raises(SpecError, match=r"^detector fragile: its check raised ZeroDivision[^\n]*$"):
        run(tiny_spec(detector="fragile", space={"fragile": {"mode": ["unchecked"]}}))
    assert not runs.exists()


def test_a_failing_reference_row_costs_itself_alone_and_a_failing_final_is_one_line(
    run: Run, tiny_spec: Any, monkeypatch: pytest.MonkeyPatch, inline: list[str]
) -> None:
    spec = tiny_spec(space={"features": {"kind": ["knn"], "layer": ["colour"]}})
    trained = hpsearch.search.task._run

    def fails(*configurations: str) -> None:
        def short_of_memory(task: Task, context: TaskContext) -> FoldResult:
            name = "{kind} {layer}".format_map(task.params)
            if task.fold is None and name in configurations:
                raise MemoryError
            return trained(task, context)

        monkeypatch.setattr("hpsearch.search.task._run", short_of_memory)

    fails("knn colour", "mahalanobis r32")
    with pytest.raises(StudyError, match=r"^training the winner, trial 0: out_of_memory: [^\n]*$"):
        run(spec)
    fails("mahalanobis r32")
    first = run(spec).result
    assert [name for name, _ in first.references] == [
        name for name in REFERENCES if name != "frozen VGG r32, Mahalanobis"
    ]
    fails()
    inline.clear()
    assert run(spec).result == first
    assert not inline
    again = run(spec, retry_failed=True).result
    assert dict(again.references).keys() == set(REFERENCES)
    assert len(inline) == 1
    assert replace(again, references=first.references) == first


def test_a_plug_in_is_searched_like_our_own(run: Run, tiny_spec: Any, plugin: Path) -> None:
    spec = tiny_spec(detector="fragile", space={"fragile": {"mode": ["calm", "blank"]}})
    ran = run(spec)
    assert ran.result.params["mode"] == "calm"
    states = [trial.state.name for trial in load_study(ran.folder.path).get_trials()]
    assert states == ["COMPLETE", "FAIL"]


def test_partition_and_tpe(run: Run, tiny_spec: Any) -> None:
    labels = {"n_examples": 6, "anomalies": "partition"}
    ran = run(tiny_spec(labels=labels, search={"sampler": "tpe", "n_trials": 6}))
    assert len(load_study(ran.folder.path).get_trials()) == 6


@pytest.mark.parametrize(
    "space", [{"preprocesing": {"resolution": [16]}}, {"dpaa": {"latent_dim": [4]}}]
)
def test_a_section_that_nothing_reads_is_refused(
    space: Any, tiny_spec: Any, prepare: Callable[..., StudyInputs]
) -> None:
    with pytest.raises(SpecError, match=r"^space\.\w+: no such section; there are preprocessing"):
        prepare(tiny_spec(space=space))


def test_a_model_on_a_network_that_its_layer_names_needs_none_of_the_studys_weights(
    run: Run, tiny_spec: Any
) -> None:
    space = {"features": {"kind": ["knn"], "layer": ["lite0:s1"]}}
    backbone = {"name": "vgg-mini", "weights": str(BUNDLED_VGG_MINI)}
    folder = run(tiny_spec(study_name="named", space=space, backbone=backbone)).folder
    model = load_model(
        folder.model(folder.winner()), device="cpu", backbone_weights=BUNDLED_VGG_MINI
    )
    assert isinstance(model, Model)
    assert model.facts.backbone.name == "lite0"
    assert len(model.score(np.zeros((2, 16, 16, 3), np.uint8))) == 2
