import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from hpsearch.errors import StudyError
from hpsearch.reports.dashboard.server import open_storage
from hpsearch.storage.database import (
    create_or_load_study,
    load_study,
    open_database,
    sole_writer_of,
)
from hpsearch.storage.run_dir import DATABASE, LEDGER

PRUNER = optuna.pruners.NopPruner()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A study of two trials."""
    folder = tmp_path / "run"
    folder.mkdir()
    study = create_or_load_study(folder, "study", pruner=PRUNER)
    for value in (0.1 + 0.2, 0.5):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        study.tell(trial, value)
    return folder


def test_a_study_is_there_the_next_time(run_dir: Path) -> None:
    again = create_or_load_study(run_dir, "study", pruner=PRUNER)
    assert [trial.value for trial in again.get_trials()] == [0.1 + 0.2, 0.5]
    assert again.direction == optuna.study.StudyDirection.MAXIMIZE
    assert again.metric_names == ["validation ROC AUC"]
    assert len(load_study(run_dir).get_trials()) == 2
    assert sorted(path.name for path in run_dir.iterdir()) == ["backups", DATABASE, LEDGER]


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _garbage_inside(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 24 * 1024)


DAMAGES = {
    "of no bytes": lambda path: os.truncate(path, 0),
    "cut to half": _half,
    "cut to a few bytes": lambda path: os.truncate(path, 50),
    "garbage": lambda path: path.write_bytes(os.urandom(9000)),
    "garbage inside": _garbage_inside,
    "text": lambda path: path.write_text("not a database " * 99),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_refused_and_left_alone(damage: str, run_dir: Path) -> None:
    path = run_dir / DATABASE
    DAMAGES[damage](path)
    content = path.read_bytes()
    for opened in (
        lambda: create_or_load_study(run_dir, "study", pruner=PRUNER),
        lambda: load_study(run_dir),
        lambda: open_database(run_dir),
    ):
        with pytest.raises(StudyError, match=r"`hpsearch recover ") as caught:
            opened()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_reading_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        load_study(tmp_path)
    assert not list(tmp_path.iterdir())


KILLED_INSIDE_A_TRANSACTION = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size=1")  # so that pages reach the file before the commit
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE filler (a)")
database.executemany("INSERT INTO filler VALUES (?)", [("x" * 2000,)] * 500)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_killed_inside_a_transaction_loses_that_one_only(run_dir: Path) -> None:
    path = run_dir / DATABASE
    subprocess.run([sys.executable, "-c", KILLED_INSIDE_A_TRANSACTION, str(path)], check=False)
    assert path.with_name(f"{DATABASE}-journal").exists(), "the fault was not made"
    assert [trial.value for trial in load_study(run_dir).get_trials()] == [0.1 + 0.2, 0.5]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not connection.execute("SELECT name FROM sqlite_master WHERE name='filler'").fetchall()
    connection.close()


def test_a_transaction_keeps_other_writers_out_from_its_beginning(run_dir: Path) -> None:
    """Else what it writes could rest on what another writer has changed since it was read."""
    database = open_database(run_dir)
    other = sqlite3.connect(run_dir / DATABASE, timeout=0, isolation_level=None)
    with database.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")  # afterwards it may
    other.close()
    database.dispose()


def test_a_kill_while_the_database_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_metric_names", killed)
        with pytest.raises(KeyboardInterrupt):
            create_or_load_study(tmp_path, "study", pruner=PRUNER)
    assert not (tmp_path / DATABASE).exists()
    (tmp_path / f".tmp-0123456789ab-{DATABASE}").touch()  # of a kill -9
    (tmp_path / f".tmp-0123456789ab-{DATABASE}-journal").touch()
    create_or_load_study(tmp_path, "study", pruner=PRUNER)
    assert [path.name for path in tmp_path.iterdir()] == [DATABASE]


def test_commits_are_written_through(tmp_path: Path) -> None:
    engine = open_database(tmp_path)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    engine.dispose()


HOLDER = """
import sys, time
from pathlib import Path
from hpsearch.storage.run_dir import LEDGER
from hpsearch.storage.database import sole_writer_of
with sole_writer_of(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_writer_is_told_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    with (
        pytest.raises(StudyError, match=rf"process {first.pid} is writing this study") as caught,
        sole_writer_of(tmp_path),
    ):
        pass
    assert "\n" not in str(caught.value)
    first.kill()
    first.wait()
    first.stdout.close()
    started = time.monotonic()
    with sole_writer_of(tmp_path):
        assert (tmp_path / "study.owner").read_text().split()[0] == str(os.getpid())
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["a?b=c", "a%20b", "a#b", "a b", "a{b}", "a%b", "ü@h:1", "a+b"])
def test_any_folder_name_holds_a_study(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    study = create_or_load_study(folder, "study", pruner=PRUNER)
    study.tell(study.ask(), 0.5)
    assert [trial.value for trial in load_study(folder).get_trials()] == [0.5]
    with open_database(folder).connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM trials").scalar() == 1
    for write in (False, True):
        storage = open_storage(folder, write=write)
        assert len(storage.get_all_trials(study._study_id)) == 1
        storage.engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {path.name for path in folder.iterdir()} == {DATABASE, LEDGER, "backups"}
