import io
import json
import subprocess
import sys
from typing import Any

import optuna
import pytest
from optuna_dashboard import get_note, save_note, wsgi
from PIL import Image

from hpsearch.reports.dashboard import publish as publishing
from hpsearch.reports.dashboard.publish import (
    HEAT,
    publish,
    publish_unless_running,
    trial_curves,
)
from hpsearch.storage.database import load_study, sole_writer_of
from hpsearch.storage.run_dir import DATABASE, RunDir
from hpsearch.study.result import read_winner


def _trial(study: optuna.Study, number: int) -> optuna.Trial:
    return optuna.trial.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def test_curves_have_the_areas_that_the_search_found(finished: RunDir) -> None:
    study = load_study(finished.path)
    curves = trial_curves(finished, range(4))
    for trial in study.get_trials():
        areas = [curve.auroc for curve in curves[trial.number]]
        assert areas == pytest.approx(trial.user_attrs["fold_aurocs"], abs=1e-12)
    assert {curve.n_anomaly for curve in curves[0]} == {4}


def test_what_is_published_is_shown_and_once(finished: RunDir, serve: Any) -> None:
    examples = finished.final / str(read_winner(finished).trial) / "examples"
    examples.mkdir()
    Image.new("RGB", (8, 8)).save(examples / "00-most_normal.png")
    assert publish_unless_running(finished) == []
    database, files = (
        (finished.path / DATABASE).read_bytes(),
        sorted(finished.artifacts.iterdir()),
    )
    assert publish_unless_running(finished) == []
    assert (finished.path / DATABASE).read_bytes() == database
    assert sorted(finished.artifacts.iterdir()) == files
    with serve(finished) as browser:
        browser.open_link()
        detail = browser.ask("/api/studies/1").json
        assert len(detail["trials"]) == 4
        for trial in detail["trials"]:
            names = [artifact["filename"] for artifact in trial["artifacts"]]
            best = trial["number"] == read_winner(finished).trial
            assert names.count("roc.png") == 1
            assert ("00-most_normal.png" in names) == best
            assert ("**Final model**" in trial["note"]["body"]) == best
            assert all(f"tasks/{task}/" in trial["note"]["body"] for task in _tasks(trial))
            for artifact in trial["artifacts"]:
                path = f"/artifacts/1/{trial['trial_id']}/{artifact['artifact_id']}"
                picture = browser.ask(path)
                assert picture.headers["Content-Type"] == "image/png"
                Image.open(io.BytesIO(picture.body)).verify()
        assert f"{read_winner(finished).test.auroc:.3f}" in detail["note"]["body"]
        (figure,) = detail["plotly_graph_objects"]
        assert figure["id"] == HEAT
        best_value = load_study(finished.path).best_value
        assert f"{best_value:.3f}" in figure["graph_object"]


def _tasks(trial: Any) -> list[str]:
    attributes = {one["key"]: one["value"] for one in trial["user_attrs"]}
    return list(json.loads(attributes["tasks"]))


def test_what_somebody_wrote_stays(finished: RunDir) -> None:
    publish_unless_running(finished)
    study = load_study(finished.path)
    save_note(_trial(study, 1), "mine")
    winner = finished.winner()
    finished.winner_file.unlink()  # so that the study's note has another text now
    publish_unless_running(finished)
    study = load_study(finished.path)
    assert get_note(_trial(study, 1)) == "mine"
    assert get_note(_trial(study, 0)).startswith("**complete**")
    assert "There is no answer yet" in get_note(study)
    finished.record_winner(winner)


def test_a_picture_that_cannot_be_made_is_told_and_the_rest_is_there(finished: RunDir) -> None:
    gone = load_study(finished.path).get_trials()[2].user_attrs["tasks"][0]
    (finished.tasks / gone / "scores.csv").write_text("image_id,role,score\n")
    remarks = publish_unless_running(finished)
    assert remarks
    assert all(gone in remark and "\n" not in remark for remark in remarks)
    assert get_note(load_study(finished.path)) != ""


def test_a_running_study_is_left_alone(finished: RunDir) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from hpsearch.storage.database import sole_writer_of\n"
        "with sole_writer_of(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(finished.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        (remark,) = publish_unless_running(finished)
        assert f"process {holder.pid} is writing" in remark
        holder.communicate()
    assert not finished.artifacts.exists()


def test_without_the_extra_nothing_is_written(
    finished: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "is_installed", lambda: False)
    with sole_writer_of(finished.path):
        (remark,) = publish(finished)
    assert "pip install 'hpsearch[dashboard]'" in remark
    assert not finished.artifacts.exists()


def test_the_plain_dashboard_reads_it_too(finished: RunDir) -> None:
    publish_unless_running(finished)
    app = wsgi(f"sqlite:///{finished.path / DATABASE}")
    answers: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/studies/1",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    body = b"".join(app(environ, lambda status, *_: answers.append(status)))  # type: ignore
    assert answers == ["200 OK"]
    assert b"**complete**" in body


def test_reading_a_study_does_not_wait_for_torch() -> None:
    code = (
        "import sys, hpsearch.reports.dashboard.publish, hpsearch.reports.dashboard.server\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
