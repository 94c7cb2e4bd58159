import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pytest

from hpsearch.errors import SpecError
from hpsearch.search.engine import Engine, LocalEngine, Workers, plan_workers
from hpsearch.search.task import Task, TaskContext
from hpsearch.storage.results import FoldResult
from hpsearch.study.inputs import StudyInputs


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 6)
    return 6


@pytest.mark.parametrize("workers", [None, 1, 2, 3, 4, 5, 6])
def test_workers_times_threads_never_exceed_the_cores(cores: int, workers: int | None) -> None:
    plan = plan_workers("cpu", workers)
    assert plan.count == (workers or cores)
    assert plan.threads >= 1
    assert plan.count * plan.threads <= cores


@pytest.mark.parametrize("workers", [0, -1, 7])
def test_another_number_of_workers_is_refused(cores: int, workers: int) -> None:
    with pytest.raises(SpecError, match=rf"^workers must be from 1 to 6.*got {workers}$"):
        plan_workers("cpu", workers)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", "cuda:"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(SpecError, match=r"^device .*this machine has cpu.*choose one$"):
        plan_workers(device, None)


def test_one_worker_for_each_gpu(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert plan_workers("auto", None) == Workers(2, 3, ("cuda:0", "cuda:1"))
    assert plan_workers("cuda:1", None).devices == ("cuda:1",)
    assert plan_workers("cpu", None).devices == ("cpu",)


def _run(engine: Engine, tasks: list[Task]) -> dict[str, Any]:
    """Outcomes by the task's mode and fold."""
    waiting, outcomes = list(tasks), {}
    while len(outcomes) < len(tasks):
        while waiting and engine.idle > 0:
            engine.submit(waiting.pop(0))
        for finished in engine.wait():
            outcomes[f"{finished.task.params['mode']} {finished.task.fold}"] = finished.outcome
    return outcomes


@pytest.fixture
def tasks(
    plugin: Path, tiny_spec: Any, prepare: Callable[..., StudyInputs]
) -> tuple[StudyInputs, dict[str, Task]]:
    modes = ["calm", "once", "always", "diverges", "sleeps", "raises"]
    prepared = prepare(tiny_spec(detector="fragile", space={"fragile": {"mode": modes}}))
    points = {str(params["mode"]): params for params in prepared.space.grid}
    return prepared, {mode: prepared.task(params, 0) for mode, params in points.items()}


@pytest.mark.slow
def test_a_killed_worker_costs_no_result(
    tasks: tuple[StudyInputs, dict[str, Task]],
    context: Callable[[StudyInputs], TaskContext],
    cache: Path,
) -> None:
    prepared, by_mode = tasks
    calm = [replace(by_mode["calm"], fold=fold) for fold in range(3)]
    engine = LocalEngine(context(prepared), Workers(2, 1, ("cpu",)), fold_timeout=10)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        killers = [by_mode[mode] for mode in ("sleeps", "always", "once", "diverges", "raises")]
        outcomes = _run(engine, [*killers, *calm])
    finally:
        engine.close()
        assert bystander.poll() is None, "a process of someone else was ended"
        bystander.kill()
        bystander.wait()
    modes = ("sleeps", "always", "diverges", "raises")
    failed = {mode: outcomes.pop(f"{mode} 0") for mode in modes}
    found = {mode: (error.reason, error.message) for mode, error in failed.items()}
    assert found.pop("raises")[0] == "error"
    assert found == {
        "sleeps": ("timeout", "took longer than the 10 s of --fold-timeout"),
        "always": ("worker_lost", "its process ended 3 times, by SIGKILL"),
        "diverges": ("non_finite", "it diverged"),
    }
    assert set(outcomes) == {"once 0", "calm 0", "calm 1", "calm 2"}
    assert all(isinstance(outcome, FoldResult) for outcome in outcomes.values())
    assert len((cache / "fitted-always").read_text().split()) == 3
    workers = {pid for path in cache.glob("fitted-*") for pid in path.read_text().split()}
    assert not [pid for pid in workers if _alive(int(pid))]


PARENT = """
import pickle, sys
from hpsearch.search.engine import LocalEngine, Workers

if __name__ == "__main__":
    context, task = pickle.load(open(sys.argv[1], "rb"))
    engine = LocalEngine(context, Workers(1, 1, ("cpu",)))
    engine.submit(task)
    engine.wait()
"""


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(
    tasks: tuple[StudyInputs, dict[str, Task]],
    context: Callable[[StudyInputs], TaskContext],
    cache: Path,
    plugin: Path,
    tmp_path: Path,
) -> None:
    prepared, by_mode = tasks
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "work").write_bytes(pickle.dumps((context(prepared), by_mode["sleeps"])))
    path = os.pathsep.join([str(plugin), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "work")],
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        asleep = cache / "fitted-sleeps"
        _until(lambda: asleep.exists() and asleep.read_text().endswith("\n"), seconds=90)
        worker = int(asleep.read_text())
        assert _alive(worker)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        _until(lambda: not _alive(worker), seconds=10)
    finally:
        parent.kill()
        parent.wait()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _until(condition: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
