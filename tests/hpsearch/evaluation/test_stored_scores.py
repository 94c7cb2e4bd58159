import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial

from hpsearch.config.spec import StudySpec
from hpsearch.errors import StudyError
from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.stored_scores import read_scores, with_finals
from hpsearch.protocol.folds import make_folds
from hpsearch.search.events import SilentListener
from hpsearch.storage.database import create_or_load_study, load_study
from hpsearch.storage.results import FoldResult, read_result, scores_at, write_result
from hpsearch.storage.run_dir import RunDir
from hpsearch.study.run import run_study

N_TRIALS, N_FOLDS, STEPS = 3, 2, 40
IDS = [f"a, {number}.png" for number in range(14)]
TRAIN_NORMALS, POOL, TEST = range(6), range(6, 9), range(9, 14)


def test_a_study_is_read_as_it_was_written(
    runs: Path, cache: Path, inline: list[str], tiny_spec: Any
) -> None:
    """Every anomaly of the pool is labelled, so that a trial's value follows from the arrays."""
    spec = tiny_spec(labels={"n_anomaly_types": 2, "n_examples": 12}, final={"n_runs": 2})
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    ran = run_study(spec, listener=SilentListener(), **where)
    scores, final = read_scores(ran.folder), ran.result
    for found, fold in zip(scores.normals, make_folds(scores.table, seed=0), strict=True):
        np.testing.assert_array_equal(found, fold.scored)
    for number, trial in enumerate(scores.trials):
        folds = zip(scores.normal_scores, scores.pool_scores[number], strict=True)
        aurocs = [auroc(normals[number], anomalies) for normals, anomalies in folds]
        assert np.mean(aurocs) == pytest.approx(trial.value, abs=1e-12)
    # Not the reference rows, which have no folds either, and may have the same parameters.
    assert scores.final_tasks == tuple(
        final.tasks[0] if trial.number == final.trial else None for trial in scores.trials
    )
    normal = scores.table["label"].to_numpy()[scores.test] == 0
    of_test = scores.final_test_scores[final.trial]
    assert auroc(of_test[normal], of_test[~normal]) == pytest.approx(final.runs[0])


@pytest.fixture
def random_study(quick_disk: Path) -> RunDir:
    """A study of random scores, a failed trial before the completed ones."""
    folder = RunDir(quick_disk / "random")
    spec = StudySpec(study_name="random", search={"n_folds": N_FOLDS})
    folder.begin(spec, _table(), {"data_fingerprint": "", "backbone_digest": ""})
    study = create_or_load_study(folder.path, "random", pruner=optuna.pruners.NopPruner())
    study.add_trial(create_trial(state=TrialState.FAIL))
    for trial in range(N_TRIALS):
        digests = [f"{trial}{fold}".ljust(16, "f") for fold in range(N_FOLDS)]
        for fold, digest in enumerate(digests):
            _write(folder, digest, trial, fold=fold)
        facts = {"tasks": digests, "best_steps": [STEPS - 1, STEPS + 1]}
        study.add_trial(create_trial(value=0.5, user_attrs=facts))
    return folder


def _table() -> pd.DataFrame:
    table = pd.DataFrame({"image_id": IDS, "path": IDS, "group": IDS, "mask_path": ""})
    table["label"] = [int(n in POOL or n >= 12) for n in range(14)]
    table["anomaly_type"] = np.where(table["label"] == 1, "NA", "")
    table["split"] = np.where(table.index.isin(TEST), "test", "train")
    return table


def _write(folder: RunDir, digest: str, trial: int, *, fold: int | None, **own: Any) -> None:
    scored = [n for n in TRAIN_NORMALS if fold is not None and n % N_FOLDS == fold]
    real = [*TEST, *POOL, *scored]  # in no order that a reader may count on
    roles = ["test"] * len(TEST) + ["anomaly"] * len(POOL) + ["normal"] * len(scored)
    ids = [IDS[n] for n in (*real, *scored)]
    roles += ["synthetic"] * len(scored)
    values = np.random.default_rng([trial, fold or 9]).normal(size=len(ids))
    scores = pd.DataFrame({"image_id": ids, "role": roles, "score": values})
    task = {"detector": "dpa", "params": {"width": trial}, "training": {}, "recipe": 2, "seed": 0}
    task |= {"backbone_digest": "b", "data_fingerprint": "d", "fold": fold}
    task |= {"steps": STEPS if fold is None else None, **own}
    result = FoldResult(digest, scores, STEPS, None, pd.DataFrame({"step": [0]}), 1.0, 1.0, "cpu")
    write_result(folder.tasks, task, result)


def test_arrays_hold_the_scores_of_the_task_directories(random_study: RunDir) -> None:
    seen: list[int] = []
    scores = read_scores(random_study, progress=lambda what, done, total: seen.append(done))
    assert [trial.number for trial in scores.trials] == [1, 2, 3]
    assert seen == [1, 2, 3]
    assert scores.pool.tolist() == list(POOL)
    assert scores.test.tolist() == list(TEST)
    assert [list(found) for found in scores.normals] == [[0, 2, 4], [1, 3, 5]]
    for number, trial in enumerate(scores.trials):
        for fold, digest in enumerate(trial.user_attrs["tasks"]):
            result = read_result(random_study.tasks, digest)
            assert result is not None
            for found, positions in (
                (scores.normal_scores[fold][number], scores.normals[fold]),
                (scores.pool_scores[number, fold], scores.pool),
                (scores.fold_test_scores[number, fold], scores.test),
            ):
                expected = scores_at(result, scores.table, positions)
                np.testing.assert_array_equal(found, expected)


def test_a_final_model_is_one_of_the_same_settings_and_steps(random_study: RunDir) -> None:
    scores = read_scores(random_study)
    assert not scores.has_final.any()
    _write(random_study, "a" * 16, 1, fold=None)
    _write(random_study, "b" * 16, 0, fold=None, steps=None)
    _write(random_study, "c" * 16, 0, fold=None, recipe=1)
    _write(random_study, "d" * 16, 0, fold=None, seed=1)
    _write(random_study, "e" * 16, 2, fold=None, steps=STEPS + 1)
    found = with_finals(scores, random_study)
    assert found.final_tasks == (None, "a" * 16, None)
    assert np.isnan(found.final_test_scores).all(axis=1).tolist() == [True, False, True]


def test_tasks_of_before_recipes_had_a_number_are_read(random_study: RunDir) -> None:
    _write(random_study, "a" * 16, 1, fold=None)
    for file in random_study.tasks.glob("*/task.json"):
        task = json.loads(file.read_text())
        del task["recipe"]
        file.write_text(json.dumps(task | {"version": 2}))
    assert with_finals(read_scores(random_study), random_study).final_tasks == (
        None,
        "a" * 16,
        None,
    )


def _drop_a_fold(folder: RunDir) -> None:
    shutil.rmtree(folder.tasks / "11ffffffffffffff")


def _damage_a_task(folder: RunDir) -> None:
    (folder.tasks / "11ffffffffffffff" / "task.json").write_text("{")


def _damage_the_table(folder: RunDir) -> None:
    folder.images_file.write_text("image_id\nx\n")


def _score_other_normals(folder: RunDir) -> None:
    shutil.rmtree(folder.tasks / "11ffffffffffffff")
    _write(folder, "11ffffffffffffff", 1, fold=0)


def _add_a_trial_of_one_fold(folder: RunDir) -> None:
    study = load_study(folder.path)
    study.add_trial(create_trial(value=0.5, user_attrs={"tasks": ["00ffffffffffffff"]}))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            _drop_a_fold,
            r"11f+: a result of trial 2 is gone; put it back, or run the same `hpsearch run` again",
        ),
        (_damage_a_task, r"11f+: damaged .*; `hpsearch recover .*` sets it aside, and a run"),
        (_damage_the_table, r"images\.csv: damaged .*; `hpsearch recover .*` makes it again"),
        (_score_other_normals, r"3 scores are missing, or folds differ between trials; run"),
        (_add_a_trial_of_one_fold, r"trial 4 has 1 of 2 folds; run the same `hpsearch run` again"),
    ],
)
def test_what_is_gone_or_damaged_is_one_line(
    break_it: Callable[[RunDir], None], message: str, random_study: RunDir
) -> None:
    break_it(random_study)
    with pytest.raises(StudyError, match=rf"^[^\n]*{message}[^\n]*$"):
        read_scores(random_study)


def test_a_study_without_a_completed_trial_is_one_line(quick_disk: Path) -> None:
    folder = RunDir(quick_disk / "none")
    folder.begin(StudySpec(study_name="none"), _table(), {})
    create_or_load_study(folder.path, "none", pruner=optuna.pruners.NopPruner())
    with pytest.raises(StudyError, match=r"^study none: no trial was completed"):
        read_scores(folder)


def test_reading_needs_no_torch() -> None:
    rooms = (
        "hpsearch.evaluation.stored_scores, hpsearch.evaluation.label_budget.study_curves, "
        "hpsearch.reports.budget_figure, hpsearch.cli.label_budget"
    )
    code = f"import sys, {rooms}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
