import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from hpsearch.config.space import preprocessing_of
from hpsearch.datasets.cutpaste import counterparts
from hpsearch.detectors.base import ImageView
from hpsearch.detectors.pooled_features import pooled_features
from hpsearch.errors import TaskError
from hpsearch.protocol.folds import Fold, make_folds
from hpsearch.search.task import Task, TaskContext, run_task
from hpsearch.storage.results import RECIPE, read_result
from hpsearch.study.inputs import StudyInputs

Prepare = Callable[..., StudyInputs]
Context = Callable[[StudyInputs], TaskContext]


@pytest.fixture
def prepared(tiny_spec: Any, prepare: Prepare) -> StudyInputs:
    return prepare(tiny_spec())


def _first(prepared: StudyInputs, fold: int = 0) -> Task:
    return prepared.task(prepared.space.grid[0], fold)


def test_every_image_that_was_not_trained_on_is_scored_once(
    prepared: StudyInputs, context: Context
) -> None:
    table = prepared.dataset.table
    folds = make_folds(table, n_folds=3, seed=prepared.spec.search.seed)
    for number, fold in enumerate(folds):
        scores = run_task(_first(prepared, number), context(prepared)).scores
        scores = scores[scores["role"] != "synthetic"]
        assert scores["image_id"].is_unique
        trained = set(table["image_id"].iloc[fold.train])
        assert set(scores["image_id"]) == set(table["image_id"]) - trained
        by_role = scores.groupby("role")["image_id"].agg(set)
        assert by_role["normal"] == set(table["image_id"].iloc[fold.scored])
        assert by_role["early_stop"] == set(table["image_id"].iloc[fold.early_stop])
        anomalies = table[(table["label"] == 1) & (table["split"] == "train")]
        assert by_role["anomaly"] == set(anomalies["image_id"])
        assert by_role["test"] == set(table["image_id"][table["split"] == "test"])


def test_the_folds_of_files_come_with_the_context(prepared: StudyInputs, context: Context) -> None:
    """Also folds that leak: a scored normal that was trained on has that one role."""
    table = prepared.dataset.table
    fold = Fold(np.arange(0, 12), np.arange(12, 18), np.arange(6, 21))
    task = replace(_first(prepared), fold_digest=fold.digest)
    scores = run_task(task, replace(context(prepared), folds=(fold,))).scores
    by_role = scores.groupby("role")["image_id"].agg(list)
    ids = table["image_id"]
    assert by_role["normal"] == by_role["synthetic"] == ids.iloc[6:21].tolist()
    assert "early_stop" not in by_role, "all six were scored"
    assert not set(by_role["anomaly"]) & set(ids.iloc[:36])


@pytest.mark.parametrize("layer", ["colour", "r12"])
@pytest.mark.parametrize("axes", [{}, {"random_crop": [0.5]}], ids=["whole", "random crop"])
def test_each_normal_of_the_fold_has_a_synthetic_counterpart(
    layer: str, axes: Any, tiny_spec: Any, prepare: Prepare, context: Context, tmp_path: Path
) -> None:
    space = {"features": {"kind": ["mahalanobis"], "layer": [layer]}}
    prepared = prepare(tiny_spec(space=space | {"preprocessing": {"resolution": [16]} | axes}))
    task, place = _first(prepared, 1), context(prepared)
    scores = run_task(task, place).scores
    fold = make_folds(prepared.dataset.table, n_folds=3, seed=prepared.spec.search.seed)[1]
    synthetic = scores[scores["role"] == "synthetic"]
    assert list(synthetic["image_id"]) == list(prepared.dataset.table["image_id"][fold.scored])
    pixels = np.load(place.pixels[preprocessing_of(task.params)])
    made = counterparts(pixels, fold.scored, size=16, seed=task.split_seed)

    def vectors(images: Any, name: str) -> Any:
        view = ImageView(images, np.arange(len(images)), name)
        apart = tmp_path / "apart"
        return pooled_features(view, layer, prepared.backbone, device="cpu", cache_dir=apart)

    model, scaler = LedoitWolf(), StandardScaler()
    model.fit(scaler.fit_transform(vectors(pixels[fold.train], "train")))
    expected = model.mahalanobis(scaler.transform(vectors(made, "made")))
    assert list(synthetic["score"]) == pytest.approx(list(expected), rel=1e-3)
    assert list(synthetic["score"]) != pytest.approx(
        list(scores["score"][scores["role"] == "normal"])
    )


def test_synthetic_images_share_no_cached_feature(
    prepared: StudyInputs, context: Context, tmp_path: Path
) -> None:
    """Pooled features are cached by a view's key: other folds and seeds are other images."""
    params = {**prepared.space.grid[0], "layer": "r12"}
    task, shared = replace(_first(prepared), params=params), context(prepared)
    others = [replace(task, fold=1), replace(task, split_seed=1), task]
    for number, other in enumerate(others):
        alone = replace(shared, tasks=tmp_path / f"{number}", cache_dir=tmp_path / f"c{number}")
        pd.testing.assert_frame_equal(run_task(other, shared).scores, run_task(other, alone).scores)


def test_a_result_on_disk_is_read_and_not_computed(
    prepared: StudyInputs, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, place = _first(prepared), context(prepared)
    first = run_task(task, place)
    monkeypatch.setattr(
        "hpsearch.search.task.load_detector", lambda name: pytest.fail("trained again")
    )
    second = run_task(task, place)
    pd.testing.assert_frame_equal(first.scores, second.scores, check_exact=True)
    assert second.seconds == first.seconds


def test_what_was_run_is_written_down(prepared: StudyInputs, context: Context) -> None:
    task, place = _first(prepared), context(prepared)
    run_task(task, place)
    written = json.loads((place.tasks / task.digest / "task.json").read_text())
    assert written["params"] == dict(task.params)
    assert written["fold"] == 0
    assert written["data_fingerprint"] == prepared.dataset.fingerprint


def test_whatever_changes_the_result_changes_the_digest(prepared: StudyInputs) -> None:
    task = _first(prepared)
    others = [
        replace(task, fold=1),
        replace(task, fold=None),
        replace(task, seed=1),
        replace(task, split_seed=1),
        replace(task, n_folds=4),
        replace(task, steps=5),
        replace(task, fold_digest="other"),
        replace(task, detector="dpa"),
        replace(task, backbone_digest="other"),
        replace(task, data_fingerprint="other"),
        replace(task, params={**task.params, "layer": "r12"}),
        replace(task, statistics_digest="other"),
        replace(task, labelled_digest="other"),
        replace(task, left_out_type="blobs"),
        replace(task, training=task.training.model_copy(update={"flips": True})),
        replace(task, training=task.training.model_copy(update={"precision": "bfloat16"})),
    ]
    assert len({task.digest, *(other.digest for other in others)}) == 1 + len(others)


def test_another_recipe_is_another_task(
    prepared: StudyInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _first(prepared)
    before = task.digest
    monkeypatch.setattr("hpsearch.search.task.RECIPE", RECIPE + 1)
    assert task.digest != before


def test_the_order_of_the_axes_does_not(prepared: StudyInputs) -> None:
    task = _first(prepared)
    assert replace(task, params=dict(reversed(task.params.items()))).digest == task.digest


def test_the_final_task_trains_on_all_normals_and_keeps_the_model(
    prepared: StudyInputs, context: Context
) -> None:
    place, table = context(prepared), prepared.dataset.table
    task = prepared.final_task(prepared.space.grid[0], run=0, steps=0)
    result = run_task(task, place)
    unseen = table[(table["label"] == 1) | (table["split"] == "test")]
    assert list(result.scores["image_id"]) == list(unseen["image_id"])
    assert any((place.tasks / task.digest / "model").iterdir())
    assert not (place.tasks / _first(prepared).digest / "model").exists()


def test_scores_of_single_precision_are_kept_as_they_are_read_back(
    plugin: Path, tiny_spec: Any, prepare: Prepare, context: Context
) -> None:
    """A mean of the scores must not hang on whether a kill came in between."""
    space = {"fragile": {"mode": ["single"]}}
    prepared = prepare(tiny_spec(detector="fragile", space=space))
    task, place = _first(prepared), context(prepared)
    first, second = run_task(task, place), run_task(task, place)
    pd.testing.assert_frame_equal(first.scores, second.scores, check_exact=True)


CODE = """
import pickle, sys
from hpsearch.search.task import run_task
task, context = pickle.load(open(sys.argv[1], "rb"))
run_task(task, context)
"""


def test_another_process_gives_the_same_scores_of_a_dpa(
    tiny_spec: Any, prepare: Prepare, context: Context, tmp_path: Path
) -> None:
    prepared = prepare(tiny_spec(detector="dpa"))
    task, place = _first(prepared), context(prepared)
    here = run_task(task, place)
    there = replace(place, tasks=tmp_path / "there")
    (tmp_path / "work").write_bytes(pickle.dumps((task, there)))
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "work")], check=True)
    result = read_result(there.tasks, task.digest)
    assert result is not None
    pd.testing.assert_frame_equal(here.scores, result.scores, check_exact=True)
    assert result.best_step == here.best_step
    losses = [column for column in here.curve if column != "seconds"]
    pd.testing.assert_frame_equal(here.curve[losses], result.curve[losses], check_exact=True)
    assert np.isfinite(here.scores["score"]).all()


@pytest.mark.parametrize(
    ("mode", "reason", "says"),
    [
        ("blank", "non_finite", r"^\d+ scores are not finite$"),
        ("diverges", "non_finite", r"^it diverged$"),
        ("raises", "error", r"^Unpicklable: one\\x1b\[31m\\n.{,300}…$"),
        ("memory", "out_of_memory", r"^MemoryError$"),
        ("exits", "error", r"^SystemExit: 3$"),
        ("nothing", "bad_output", r"^fit returned None, not a Training$"),
        ("curve", "bad_output", r"^fit returned a Training that is none: .*train_loss"),
        ("none", "bad_output", r"^score returned None, not \d+ floats \(\d+,\)$"),
        ("short", "bad_output", r"^score returned an array of float64 \(\d+,\), not \d+ floats"),
        ("column", "bad_output", r"^score returned an array of float64 \(\d+, 1\), not"),
    ],
)
def test_a_failed_training_has_a_reason_and_leaves_nothing(
    mode: str,
    reason: str,
    says: str,
    plugin: Path,
    tiny_spec: Any,
    prepare: Prepare,
    context: Context,
) -> None:
    prepared = prepare(tiny_spec(detector="fragile", space={"fragile": {"mode": [mode]}}))
    place = context(prepared)
    with pytest.raises(TaskError) as caught:
        run_task(_first(prepared), place)
    error = pickle.loads(pickle.dumps(caught.value))  # as it crosses processes
    assert error.reason == reason
    assert re.search(says, error.message)
    assert error.message.isprintable()
    assert sum(map(len, error.traceback)) < 3000
    assert (reason == "error") <= any("fragile.py" in line for line in error.traceback)
    assert not place.tasks.exists() or not list(place.tasks.iterdir())


def test_what_a_killed_writer_left_is_removed(prepared: StudyInputs, context: Context) -> None:
    task, place = _first(prepared), context(prepared)
    torn = place.tasks / f".tmp-0123456789ab-{task.digest}"
    torn.mkdir(parents=True)
    (torn / "scores.csv").write_text("image_id,ro")
    run_task(task, place)
    assert [path.name for path in place.tasks.iterdir()] == [task.digest]
