import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial

import hpsearch.search.task
from hpsearch.cli.summary import next_steps
from hpsearch.config.spec import StudySpec
from hpsearch.errors import StudyError
from hpsearch.search.events import SilentListener
from hpsearch.search.rebuild import rescore
from hpsearch.search.task import Task, TaskContext
from hpsearch.search.trial import Criteria
from hpsearch.storage.backups import Ledger
from hpsearch.storage.database import FoldRecords, load_study, open_database
from hpsearch.storage.results import FoldResult
from hpsearch.storage.run_dir import DATABASE, RunDir
from hpsearch.study.repair import recover_study
from hpsearch.study.run import StudyRun, run_study

# A detector that scores an image by its mean, so that which anomalies count makes a difference.
HARD = {"detector": "fragile", "space": {"fragile": {"mode": ["calm", "single"]}}}
MORE = HARD | {"labels": {"n_anomaly_types": 2, "n_examples": 9}}
FIVE = {"labels": {"n_anomaly_types": 1, "n_examples": 5}}
Finished = Callable[[StudySpec], RunDir]


pytestmark = pytest.mark.usefixtures("plugin")


@pytest.fixture
def run(runs: Path, cache: Path, inline: list[str]) -> Callable[[StudySpec], StudyRun]:
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    return lambda spec: run_study(spec, listener=SilentListener(), **where)


def _trials(folder: RunDir) -> list[dict[str, Any]]:
    found = load_study(folder.path).get_trials()
    left = {"seconds"}  # of trainings, which differ from run to run
    return [
        {
            "params": trial.params,
            "value": trial.value,
            "reported": trial.intermediate_values,
            "facts": {key: trial.user_attrs[key] for key in trial.user_attrs if key not in left},
        }
        for trial in found
    ]


def test_more_labels_choose_as_in_a_study_that_began_with_them(
    finished_study: Finished, tiny_spec: Any, run: Any, inline: list[str]
) -> None:
    folder = finished_study(tiny_spec(study_name="hard", **HARD))
    before = _trials(folder)
    inline.clear()
    ran = run(tiny_spec(study_name="hard", **MORE))
    folds = {digest for trial in before for digest in trial["facts"]["tasks"]}
    assert not folds & set(inline), "no training of the search is repeated"
    afresh = run(tiny_spec(study_name="afresh", **MORE))
    assert _trials(ran.folder) == _trials(afresh.folder) != before
    for name in ("trial", "value", "criteria", "test", "seen", "unseen", "selection", "choices"):
        assert getattr(ran.result, name) == getattr(afresh.result, name), name
    for trial in range(len(before)):
        rows = [FoldRecords(open_database(one.folder.path)) for one in (ran, afresh)]
        assert rows[0].of_trial(trial) == rows[1].of_trial(trial) != []
    assert ran.folder.spec().labels.n_examples == 9
    inline.clear()
    assert run(tiny_spec(study_name="hard", **HARD)).folder.path == folder.path
    assert not inline
    assert _trials(folder) == before, "and back"


def test_a_kill_before_the_values_are_written_is_made_up_for(
    finished_study: Finished, tiny_spec: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished_study(tiny_spec(study_name="hard", **HARD))
    before = _trials(folder)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "add_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_spec(study_name="hard", **MORE))
    assert _trials(folder) == before
    with closing(sqlite3.connect(folder.path / DATABASE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not list(folder.path.glob(".tmp-*"))
    run(tiny_spec(study_name="hard", **MORE))
    assert _trials(folder) != before


def test_what_the_dashboard_keeps_with_a_study_stays(
    finished_study: Finished, tiny_spec: Any, prepare: Any
) -> None:
    folder = finished_study(tiny_spec(study_name="hard", **HARD))
    study = load_study(folder.path)
    study._storage.set_study_system_attr(study._study_id, "dashboard:note", "mine")
    ids = [trial._trial_id for trial in study.get_trials()]
    prepared = prepare(tiny_spec(study_name="hard", **MORE))
    criteria = Criteria(prepared.dataset.table, prepared.labelled, 3)
    assert rescore(folder, criteria, criterion="weak") == len(ids)
    assert rescore(folder, criteria, criterion="weak") == 0
    anew = load_study(folder.path)
    assert [trial._trial_id for trial in anew.get_trials()] == ids
    kept = anew._storage.get_study_system_attrs(anew._study_id)
    assert kept["dashboard:note"] == "mine"
    assert anew.metric_names == ["validation ROC AUC"]


@pytest.fixture
def beside(tiny: Path, tmp_path: Path) -> Callable[[list[str]], dict[str, str]]:
    """Makes the tiny set with the first normals, one each, in groups of labelled anomalies."""

    def make(groups: list[str]) -> dict[str, str]:
        table = pd.read_csv(tiny, dtype=str, keep_default_na=False)
        table.loc[table.index[: len(groups)], "group"] = groups
        table.to_csv(tmp_path / "beside.csv", index=False)
        return {"name": str(tmp_path / "beside.csv"), "root": str(tiny.parent)}

    return make


def test_labels_that_would_change_the_folds_are_refused(
    tiny_spec: Any, run: Any, beside: Any, inline: list[str]
) -> None:
    data = beside([f"train-{kind}-{n}" for kind in ("stripes", "blobs") for n in (0, 1)])
    folder = run(tiny_spec(study_name="hard", dataset=data, **HARD)).folder
    began, before = folder.spec(), _trials(folder)
    inline.clear()
    with pytest.raises(StudyError, match="share groups with other training normals"):
        run(tiny_spec(study_name="hard", dataset=data, **MORE))
    assert (inline, folder.spec(), _trials(folder)) == ([], began, before)
    again = run(tiny_spec(study_name="hard", dataset=data, **HARD | FIVE))
    assert again.folder.spec().labels.n_examples == 5, "of the same groups"
    assert not inline
    advised = [command for command, _ in next_steps(folder, load_study(folder.path))]
    assert any("--n-examples 6" in command for command in advised)
    assert not any("--n-anomaly-types" in command for command in advised)


def test_a_retried_failure_keeps_its_place(
    tiny_spec: Any, run: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, inline: list[str]
) -> None:
    """Rows of the folds of a trial that failed go to the one that tried it again, as in a run."""

    def out_of_memory(task: Task, context: TaskContext) -> FoldResult:
        if task.fold == 1 and task.params["mode"] == "single":
            raise MemoryError
        return original(task, context)

    original = hpsearch.search.task._run
    with monkeypatch.context() as patch:
        patch.setattr(hpsearch.search.task, "_run", out_of_memory)
        run(tiny_spec(study_name="hard", **HARD))
    folder = run(tiny_spec(study_name="hard", **HARD)).folder
    inline.clear()

    def rows() -> list[int]:
        return [len(FoldRecords(open_database(folder.path)).of_trial(n)) for n in range(3)]

    assert rows() == [3, 0, 3]
    run(tiny_spec(study_name="hard", **MORE))
    assert (rows(), inline) == ([3, 0, 3], [])
    (folder.path / DATABASE).unlink()
    recover_study(folder, cache_dir=cache, listener=SilentListener())
    assert rows() == [3, 0, 3]


def test_a_result_that_is_gone_is_trained_again_before_more_labels_choose(
    finished_study: Finished, tiny_spec: Any, run: Any, inline: list[str]
) -> None:
    folder = finished_study(tiny_spec(study_name="hard", **HARD))
    gone = _trials(folder)[1]["facts"]["tasks"][2]
    shutil.rmtree(folder.tasks / gone)
    inline.clear()
    ran = run(tiny_spec(study_name="hard", **MORE))
    assert inline[0] == gone
    assert _trials(ran.folder) == _trials(run(tiny_spec(study_name="afresh", **MORE)).folder)


def test_labels_half_written_to_the_ledger_do_no_harm(
    finished_study: Finished, tiny_spec: Any, run: Any, cache: Path, inline: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Killed while it was given other labels, it has those before when its database is lost."""
    folder = finished_study(tiny_spec(study_name="hard", **HARD))
    before = _trials(folder)

    def killed(ledger: Ledger, trial: FrozenTrial) -> None:
        original(ledger, trial)
        raise KeyboardInterrupt

    original = Ledger.write
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_spec(study_name="hard", **MORE))
    run(tiny_spec(study_name="hard", **HARD))
    assert _trials(folder) == before
    (folder.path / DATABASE).unlink()
    recover_study(folder, cache_dir=cache, listener=SilentListener())
    assert _trials(folder) == before


def test_the_warnings_are_those_of_the_labels_of_now(tiny_spec: Any, run: Any, beside: Any) -> None:
    data = beside([f"train-{kind}-{n}" for kind in ("stripes", "blobs") for n in (0, 1)])
    options = {"study_name": "hard", "dataset": data, "search": {"split_groups": True}}
    folder = run(tiny_spec(**options, **HARD)).folder
    assert folder.environment()["warnings"][0].startswith("2 of 36 training normals share")
    run(tiny_spec(**options, **MORE))
    assert folder.environment()["warnings"][0].startswith("4 of 36 training normals share")
