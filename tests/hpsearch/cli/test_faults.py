"""Faults of the environment: each ends in one line, and the same command goes on afterwards."""

import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpsearch.storage.database import load_study
from hpsearch.storage.run_dir import DATABASE, RunDir

RUN = ("--device", "cpu", "--workers", 1)


def _one_line(ended: Any, *words: str) -> None:
    assert ended.code == 2, ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("hpsearch: ")]
    assert len(lines) == 1, ended.err
    assert ended.err.splitlines()[-1] == lines[0]
    for word in words:
        assert word in lines[0]


@contextmanager
def _files_up_to(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_database_that_cannot_grow_is_one_line(
    hpsearch: Any, tiny_yaml: Path, runs: Path, cache: Path
) -> None:
    command = ("run", "--study", tiny_yaml, "--runs", runs, *RUN)
    with _files_up_to(100_000):
        _one_line(hpsearch(*command), "limit")
    assert not [*runs.rglob(".tmp-*"), *cache.rglob(".tmp-*")]
    assert hpsearch(*command).code == 0
    assert len(load_study(runs / "tiny").get_trials()) == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a file system in memory, with options as of `mount -o`."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        again = "remount," if os.path.ismount(place) else ""
        call = ["mount", "-t", "tmpfs", "-o", f"{again}{options}", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(call, capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # a database is still open


def test_a_full_disk_is_one_line_and_the_run_goes_on(
    hpsearch: Any, tiny_yaml: Path, small_disk: Callable[..., Path]
) -> None:
    runs = small_disk("size=440k")
    command = ("run", "--study", tiny_yaml, "--runs", runs, *RUN)
    _one_line(hpsearch(*command), "the disk is full")
    small_disk("size=20m")
    assert hpsearch(*command).code == 0
    assert not list(runs.rglob(".tmp-*"))


def test_a_study_that_may_only_be_read_is_read(
    hpsearch: Any,
    tiny_spec: Any,
    tiny_yaml: Path,
    finished_study: Callable[..., RunDir],
    small_disk: Callable[..., Path],
) -> None:
    runs = small_disk("size=20m")
    shutil.copytree(finished_study(tiny_spec()).path, runs / "tiny")
    small_disk("ro")
    for command in ("status", "best"):
        assert hpsearch(command, "tiny", "--runs", runs).code == 0
    for arguments in (("run", "--study", tiny_yaml, *RUN), ("recover", "tiny")):
        _one_line(hpsearch(*arguments, "--runs", runs), "study.lock", "may only be read")


@pytest.fixture
def finished(tiny_spec: Any, finished_study: Callable[..., RunDir]) -> RunDir:
    return finished_study(tiny_spec())


def test_a_locked_database_is_one_line(
    hpsearch: Any, finished: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.storage.optuna_storage._BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(finished.path / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        _one_line(hpsearch("best", "tiny", "--runs", finished.path.parent), "locked")
    assert hpsearch("best", "tiny", "--runs", finished.path.parent).code == 0


def _schema(folder: RunDir, version: str | None = None) -> Any:
    with closing(sqlite3.connect(folder.path / DATABASE)) as database:
        if version is not None:
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))
            database.commit()
        return database.execute("SELECT version_num FROM alembic_version").fetchone()[0]


def test_an_earlier_optuna_s_database_is_converted_when_asked(
    hpsearch: Any, finished: RunDir
) -> None:
    where = ("tiny", "--runs", finished.path.parent)
    head, before = _schema(finished), load_study(finished.path).get_trials()
    _schema(finished, "v3.0.0.d")
    _one_line(hpsearch("best", *where), "earlier Optuna", "hpsearch recover --upgrade")
    assert hpsearch("recover", "--upgrade", *where).code == 0
    assert _schema(finished) == head
    assert load_study(finished.path).get_trials() == before
    newest = max((finished.path / "backups").iterdir())
    with closing(sqlite3.connect(newest)) as backup:
        version = backup.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    assert version == "v3.0.0.d"


def test_a_later_optuna_s_database_is_refused(hpsearch: Any, finished: RunDir) -> None:
    _schema(finished, "v9.9.9.a")
    for command in (("best",), ("recover", "--upgrade"), ("recover",)):
        ended = hpsearch(*command, "tiny", "--runs", finished.path.parent)
        _one_line(ended, "later Optuna", "pip install -U optuna")
    assert _schema(finished) == "v9.9.9.a"


def test_a_file_name_that_is_not_utf_8_is_one_line(
    hpsearch: Any, tiny: Path, tmp_path: Path, finished: RunDir
) -> None:
    images = tmp_path / "images"
    for name in ("good", "bad"):
        (images / "train" / name).mkdir(parents=True)
        for number in range(8):
            shutil.copy(tiny.parent / f"train-normal-{number}.png", images / "train" / name)
    one = os.fsencode(images / "train" / "good") + b"/caf\xe9.png"
    shutil.copy(os.fsencode(tiny.parent / "train-normal-9.png"), one)
    options = ("--dataset", images, "--backbone", "vgg-mini", "--detector", "features")
    ended = hpsearch("run", *options, *RUN)
    _one_line(ended, "not UTF-8")
    assert not (finished.path.parent / "images-features").exists()


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_a_seed_out_of_range_is_refused(seed: int, hpsearch: Any, tiny_yaml: Path) -> None:
    ended = hpsearch("run", "--study", tiny_yaml, "--seed", seed, *RUN)
    _one_line(ended, "search.seed", str(seed)[:10])


def test_the_largest_seed_runs(hpsearch: Any, tiny_yaml: Path, runs: Path) -> None:
    text = tiny_yaml.read_text() + "final: {n_runs: 2}\n"
    tiny_yaml.write_text(text)
    ended = hpsearch("run", "--study", tiny_yaml, "--seed", 2**32 - 1, "--runs", runs, *RUN)
    assert ended.code == 0, ended.err
