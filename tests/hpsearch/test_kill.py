"""kill -9 of the whole process tree at random moments, and the same command each time."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from hpsearch.listener import SilentListener
from hpsearch.results import read_result
from hpsearch.storage import DATABASE, load_study
from hpsearch.study import run_study

FOLDS = 12  # four configurations
COMMAND = [sys.executable, "-c", "from hpsearch.cli.main import main; main()", "run"]


@pytest.fixture
def spec(tiny_spec: Any) -> Any:
    space = {"dpa": {"latent_dim": [2, 3], "latent_res": [1, 4], "layers": ["r12"]}}
    return tiny_spec(detector="dpa", space=space)


@pytest.fixture
def start(spec: Any, tmp_path: Path, runs: Path) -> Callable[[], "subprocess.Popen[bytes]"]:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    # One core whatever the machine has, so that the worker computes with one thread everywhere.
    machine = {"LOKY_MAX_CPU_COUNT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    options = ["--study", str(tmp_path / "study.yaml"), "--device", "cpu", "--workers", "1"]
    return lambda: subprocess.Popen(
        [*COMMAND, *options],
        env=os.environ | machine,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.slow
def test_nothing_that_had_finished_is_lost_or_done_again(
    start: Callable[[], "subprocess.Popen[bytes]"],
    spec: Any,
    runs: Path,
    tmp_path: Path,
    inline: list[str],
) -> None:
    run_dir, chance = runs / spec.study_name, random.Random(1)
    seen: dict[str, tuple[int, int]] = {}
    for reached, gently in (
        (lambda: run_dir.exists(), False),
        (lambda: len(_finished(run_dir)) >= 2, True),
        (lambda: len(_finished(run_dir)) >= FOLDS + 1, False),
    ):
        process = start()
        try:
            _until(reached, process)
            time.sleep(chance.uniform(0, 0.3))
            if gently:
                process.terminate()
                assert process.wait(timeout=60) == 128 + signal.SIGTERM
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.2)
        finished = _finished(run_dir)
        assert finished.items() >= seen.items(), "a finished training was lost or done again"
        seen = finished
    process = start()
    assert process.wait(timeout=120) == 0
    assert _finished(run_dir).items() >= seen.items()
    assert not [path.name for path in (run_dir / "tasks").iterdir() if path.name.startswith(".")]
    assert not list(run_dir.rglob(".tmp-*"))
    connection = sqlite3.connect(run_dir / DATABASE)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    rows = connection.execute("SELECT trial, fold FROM fold_results ORDER BY trial, fold")
    assert rows.fetchall() == [(trial, fold) for trial in range(4) for fold in range(3)]
    connection.close()
    _same_as_undisturbed(run_dir, spec, tmp_path)


def _same_as_undisturbed(run_dir: Path, spec: Any, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ran = run_study(
        spec,
        runs=tmp_path / "undisturbed",
        cache_dir=tmp_path / "another-cache",
        listener=SilentListener(),
        device="cpu",
        workers=1,
    )
    torch.set_num_threads(threads)
    folder, result = ran.folder, ran.result
    final = json.loads((run_dir / "final" / str(result.trial) / "result.json").read_text())
    assert final["params"] == result.params
    assert final["value"] == result.value
    assert final["choices"] == [asdict(choice) for choice in result.choices]
    assert final["test"]["auroc"] == result.test.auroc
    assert [trial.value for trial in load_study(run_dir).get_trials()] == [
        trial.value for trial in load_study(folder.path).get_trials()
    ]
    names = {path.name for path in folder.tasks.iterdir()}
    assert names == set(_finished(run_dir))
    for name in names:
        one, two = read_result(run_dir / "tasks", name), read_result(folder.tasks, name)
        assert one is not None
        assert two is not None
        pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)


def _finished(run_dir: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every result that is on disk."""
    results = (run_dir / "tasks").glob("[!.]*/result.json")
    facts = {path.parent.name: path.stat() for path in results}
    return {name: (fact.st_ino, fact.st_mtime_ns) for name, fact in facts.items()}


def _until(reached: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 90
    while not reached():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
