import json
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import pytest

from hpsearch.errors import SpecError, StudyError
from hpsearch.reports.dashboard.server import open_dashboard, open_storage
from hpsearch.storage.database import create_or_load_study, load_study, sole_writer_of
from hpsearch.storage.run_dir import DATABASE, RunDir


def _empty(folder: Path, n_trials: int = 2) -> optuna.Study:
    folder.mkdir()
    study = create_or_load_study(folder, "study", pruner=optuna.pruners.NopPruner())
    for value in range(n_trials):
        study.tell(study.ask(), value / 10)
    return study


@pytest.fixture
def study_dir(quick_disk: Path) -> RunDir:
    _empty(quick_disk / "run")
    return RunDir(quick_disk / "run")


def test_who_is_let_in(study_dir: RunDir, serve: Any) -> None:
    with serve(study_dir) as browser:
        for path in ("/", "/dashboard", "/api/studies", "/static/bundle.js", "/?token=guess"):
            assert browser.ask(path).status == 401
        assert browser.ask("/api/studies", Cookie=f"{browser.link}=x; ;=").status == 401
        opened = browser.open_link()
        assert opened.status == 200
        assert opened.headers["Refresh"] == "0; url=/dashboard/studies/1"
        assert {"HttpOnly", "SameSite=Strict"} <= set(opened.headers["Set-Cookie"].split("; "))
        assert browser.ask("/dashboard/studies/1").status == 200
        assert [one["study_name"] for one in browser.ask("/api/studies").json["study_summaries"]]
        browser.cookie = None
        again = browser.open_link()
        assert (again.status, browser.cookie) == (401, None), "the link works once"


def test_pages_of_others_are_refused(study_dir: RunDir, serve: Any) -> None:
    with serve(study_dir) as browser:
        browser.open_link()
        port = browser.port
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}"):
            assert browser.ask("/api/studies", Host=host).status == 403
        for host in ("localhost", "LOCALHOST", "[::1]"):
            assert browser.ask("/api/studies", Host=f"{host}:{port}").status == 200
        for origin in ("http://evil.example", "null", f"https://127.0.0.1:{port}"):
            assert browser.ask("/api/studies", Origin=origin).status == 403
        own = browser.ask("/api/studies", Origin=f"http://127.0.0.1:{port}")
        assert own.status == 200
        assert "Access-Control-Allow-Origin" not in own.headers


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/api/studies/1", {}),
        ("POST", "/api/studies", {"study_name": "new", "directions": ["minimize"]}),
        ("POST", "/api/studies/1/rename", {"study_name": "new"}),
        ("POST", "/api/trials/1/user-attrs", {"user_attrs": {"a": 1}}),
        ("POST", "/incompatible-rdb-schema", {}),
        ("DELETE", "/api/artifacts/1/2-3", {}),
        ("PUT", "/api/studies/1/note", {"version": 1, "body": "hello"}),
    ],
)
def test_writing(method: str, path: str, body: Any, study_dir: RunDir, serve: Any) -> None:
    database = study_dir.path / DATABASE
    before = database.read_bytes()
    with serve(study_dir) as browser:
        browser.open_link()
        refused = browser.ask(path, method, body)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
        assert browser.ask("/api/studies", "HEAD").status == 200
    assert database.read_bytes() == before
    with serve(study_dir, allow_write=True) as browser:
        browser.open_link()
        assert browser.ask(path, method, body, Origin="http://evil.example").status == 403
        assert browser.ask(path, method, body).status == (204 if method == "PUT" else 403)
    assert (database.read_bytes() == before) == (method != "PUT")
    assert len(load_study(study_dir.path).get_trials()) == 2


def test_a_read_only_dashboard_cannot_change_a_row(study_dir: RunDir) -> None:
    storage = open_storage(study_dir.path, write=False)
    with pytest.raises(optuna.exceptions.StorageInternalError):
        storage.set_study_system_attr(1, "a", 1)
    storage.engine.dispose()


def test_it_shows_a_running_study_and_does_not_hold_it_up(study_dir: RunDir, serve: Any) -> None:
    with sole_writer_of(study_dir.path), serve(study_dir) as browser:
        browser.open_link()
        study = create_or_load_study(study_dir.path, "study", pruner=optuna.pruners.NopPruner())
        for number in range(2, 8):
            study.tell(study.ask(), 0.5)
            csv = browser.ask("/csv/1").body.decode().splitlines()
            assert len(csv) == 1 + number + 1
        with (
            pytest.raises(StudyError, match="is writing this study"),
            serve(study_dir, allow_write=True),
        ):
            pass


@pytest.mark.parametrize("mimetype", ["text/html", "image/svg+xml", "image/png"])
def test_a_hostile_artifact_is_inert(mimetype: str, study_dir: RunDir, serve: Any) -> None:
    artifact = str(uuid4())
    study_dir.artifacts.mkdir()
    (study_dir.artifacts / artifact).write_text("<script>alert(1)</script>")
    facts = {"artifact_id": artifact, "filename": "<script>", "mimetype": mimetype}
    storage = open_storage(study_dir.path, write=True)
    key = f"dashboard:artifacts:1:{artifact}"
    storage.set_study_system_attr(1, key, json.dumps(facts | {"encoding": None}))
    storage.engine.dispose()
    with serve(study_dir) as browser:
        browser.open_link()
        answer = browser.ask(f"/artifacts/1/1/{artifact}")
        assert answer.status == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers
        shown = answer.headers.get("Content-Disposition")
        assert shown == (None if mimetype == "image/png" else "attachment")
        assert browser.ask(f"/%ffartifacts/1/1/{artifact}").status == 404
        slashes = browser.ask(f"//artifacts/1/1/{artifact}")
        assert (slashes.status, slashes.headers["Content-Security-Policy"]) == (
            200,
            answer.headers["Content-Security-Policy"],
        )


@pytest.mark.parametrize(
    "path",
    [
        "/artifacts/1/../../study.db",
        "/artifacts/1/%2e%2e%2fstudy.db",
        "/static/../_app.py",
        "/static/%2e%2e/_app.py",
        "/static/..%5c_app.py",
        "http://evil.example/dashboard",
    ],
)
def test_no_path_leads_outside(path: str, study_dir: RunDir, serve: Any) -> None:
    with serve(study_dir) as browser:
        browser.open_link()
        assert browser.ask(path).status == 404


def test_a_port_in_use(study_dir: RunDir) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(SpecError, match=f"--port {port}: .*in use; give another") as caught,
            open_dashboard(study_dir, port=port, allow_write=False),
        ):
            pass
    assert "\n" not in str(caught.value)
