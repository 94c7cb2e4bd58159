import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpsearch.criteria import Criteria
from hpsearch.listener import SilentListener
from hpsearch.records import FoldRecords
from hpsearch.rescoring import rescore
from hpsearch.spec import StudySpec
from hpsearch.storage import DATABASE, load_study, open_database
from hpsearch.study import StudyRun, run_study
from hpsearch.study_dir import StudyDir

# A detector that scores an image by its mean, so that which anomalies count makes a difference.
HARD = {"detector": "fragile", "space": {"fragile": {"mode": ["calm", "single"]}}}
MORE = HARD | {"labels": {"n_anomaly_types": 2, "n_examples": 9}}
Finished = Callable[[StudySpec], StudyDir]


pytestmark = pytest.mark.usefixtures("plugin")


@pytest.fixture
def run(runs: Path, cache: Path, inline: list[str]) -> Callable[[StudySpec], StudyRun]:
    where = {"runs": runs, "cache_dir": cache, "device": "cpu", "workers": 1}
    return lambda spec: run_study(spec, listener=SilentListener(), **where)


def _trials(folder: StudyDir) -> list[dict[str, Any]]:
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
    for name in ("trial", "value", "criteria", "test", "seen", "unseen", "verdict", "choices"):
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
    settings = {"criterion": "weak", "labels": prepared.spec.labels}
    assert rescore(folder, criteria, **settings) == len(ids)
    assert rescore(folder, criteria, **settings) == 0
    anew = load_study(folder.path)
    assert [trial._trial_id for trial in anew.get_trials()] == ids
    kept = anew._storage.get_study_system_attrs(anew._study_id)
    assert kept["dashboard:note"] == "mine"
    assert anew.metric_names == ["validation ROC AUC"]
