"""Where tasks run: processes of this machine, each with its share of the cores or its own GPU.

`run_tasks` runs those outside the search.
"""

import signal
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Protocol

import joblib
import torch

from hpsearch.errors import SpecError, StudyError, TaskError
from hpsearch.io.faults import failure_of
from hpsearch.io.processes import Child
from hpsearch.search.events import Listener
from hpsearch.search.task import Task, TaskContext, run_task
from hpsearch.storage.results import FoldResult

_ATTEMPTS = 3  # at a task whose process dies, before it is given up


@dataclass(frozen=True, eq=False)
class Finished:
    """A task and its result, or the error that ended it.

    Attributes:
        task: that ended.
        outcome: its result, or what ended it.
    """

    task: Task
    outcome: FoldResult | TaskError


class Engine(Protocol):
    """Runs tasks somewhere, in any order."""

    @property
    def idle(self) -> int:
        """How many tasks can be submitted now and start at once."""

    def submit(self, task: Task) -> None:
        """Start a task."""

    def wait(self, timeout: float | None = None) -> list[Finished]:
        """Block until tasks have finished, and return them.

        Empty where none is under way, and may be empty otherwise: look again. Returns after
        `timeout` seconds at the latest where one is given.
        """

    def close(self) -> None:
        """Stop the workers; tasks under way are abandoned. Submitting starts workers again."""


@dataclass(frozen=True)
class Workers:
    """How many processes, and what each may use.

    On the CPU workers x threads never exceeds the cores: oversubscribed, a small autoencoder runs
    five to ten times slower.

    Attributes:
        count: of the processes.
        threads: of each.
        devices: dealt to the workers in turn.
    """

    count: int
    threads: int
    devices: tuple[str, ...]


def plan_workers(device: str, workers: int | None) -> Workers:
    """One worker a GPU, or one a core; fewer where `workers` asks for fewer.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        workers: how many processes, None for as many as are useful.

    Raises:
        SpecError: a device that is not there, or more workers than cores.
    """
    cores = joblib.cpu_count()
    every = tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))
    if device == "auto":
        devices = every or ("cpu",)
    elif device == "cuda" and every:
        devices = every
    elif device == "cpu" or device in every:
        devices = (device,)
    else:
        known = ", ".join(("cpu", *every))
        raise SpecError(f"device {device!r}: this machine has {known}; choose one")
    useful = cores if devices == ("cpu",) else min(len(devices), cores)
    wanted = useful if workers is None else workers
    if not 1 <= wanted <= cores:
        raise SpecError(
            f"workers must be from 1 to {cores}, the cores of this machine, got {wanted}"
        )
    return Workers(wanted, cores // wanted, devices)


class LocalEngine:
    """Processes of this machine, each with one task at a time.

    A process that dies takes its own task with it and no other. That task runs again when nothing
    else does, for memory may have been short, and is given up after three attempts.

    Args:
        context: where tasks find what they name.
        workers: how many processes, and what each may use.
        fold_timeout: seconds that a training may take, None for no limit. The process of one that
            takes longer is ended.
    """

    def __init__(
        self, context: TaskContext, workers: Workers, *, fold_timeout: float | None = None
    ) -> None:
        self.fold_timeout = fold_timeout
        self._context = context
        self._threads = workers.threads
        self._workers = [
            _Worker(workers.devices[number % len(workers.devices)], Child())
            for number in range(workers.count)
        ]
        self._attempts: dict[str, int] = {}
        self._suspects: list[Task] = []  # the first of them is under way, alone

    @property
    def idle(self) -> int:
        """Workers that may take a task."""
        return 0 if self._suspects else sum(worker.task is None for worker in self._workers)

    def submit(self, task: Task) -> None:
        """Give a task to a worker."""
        worker = next(worker for worker in self._workers if worker.task is None)
        context = replace(self._context, device=worker.device)
        worker.task = task
        try:
            worker.future = worker.child.submit(_run_task, task, context, self._threads)
        except Exception as error:  # no process can be started, for memory is short
            worker.future = Future()
            worker.future.set_exception(error)

    def wait(self, timeout: float | None = None) -> list[Finished]:
        """Tasks that have finished since."""
        busy = [worker for worker in self._workers if worker.future is not None]
        limits = [timeout, *(self._seconds_left(worker) for worker in busy)]
        known = [max(0.0, limit) for limit in limits if limit is not None]
        futures = [worker.future for worker in busy if worker.future is not None]
        wait(futures, timeout=min(known, default=None), return_when=FIRST_COMPLETED)
        finished = [ended for worker in busy if (ended := self._finished(worker)) is not None]
        digests = {result.task.digest for result in finished}
        self._suspects = [task for task in self._suspects if task.digest not in digests]
        if self._suspects and all(worker.task is None for worker in self._workers):
            self.submit(self._suspects[0])
        return finished

    def close(self) -> None:
        """End the workers at once, and forget their tasks."""
        for worker in self._workers:
            worker.end()
        self._suspects.clear()

    def _seconds_left(self, worker: "_Worker") -> float | None:
        """For a worker's task."""
        return None if self.fold_timeout is None else self.fold_timeout - worker.child.seconds

    def _finished(self, worker: "_Worker") -> Finished | None:
        """What became of a worker's task, None where it goes on or is to run again."""
        task, future = worker.task, worker.future
        if task is None or future is None:
            return None
        if not future.done():
            left = self._seconds_left(worker)
            if left is None or left > 0:
                return None
            worker.end()
            what = f"took longer than the {self.fold_timeout:g} s of --fold-timeout"
            return Finished(task, TaskError("timeout", what))
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            return self._lost(task, worker.end())
        outcome = future.result() if error is None else failure_of(error)
        if isinstance(outcome, TaskError) and worker.is_spoilt_by(outcome):
            worker.end()
        worker.task = worker.future = None
        return Finished(task, outcome)

    def _lost(self, task: Task, code: int | None) -> Finished | None:
        """Note that a worker died while the task was under way; give the task up in the end."""
        attempts = self._attempts[task.digest] = self._attempts.get(task.digest, 0) + 1
        if attempts < _ATTEMPTS:
            if task not in self._suspects:
                self._suspects.append(task)
            return None
        by = "" if code is None else f", with exit code {code}"
        if code is not None and code < 0:
            by = f", by {signal.Signals(-code).name}"
        return Finished(task, TaskError("worker_lost", f"its process ended {attempts} times{by}"))


@dataclass(eq=False)
class _Worker:
    """A child process and the task that it runs.

    Attributes:
        device: that its tasks run on.
        child: the process.
        task: under way, None where it is idle.
        future: of the task's result.
    """

    device: str
    child: Child
    task: Task | None = None
    future: Future[FoldResult] | None = None

    def is_spoilt_by(self, failure: TaskError) -> bool:
        """Whether the next task must not run in this process: memory is still held, or an error
        has broken the process's access to its GPU."""
        on_gpu = self.device.startswith("cuda")
        return failure.reason == "out_of_memory" or (on_gpu and failure.reason == "error")

    def end(self) -> int | None:
        """Kill the process and forget its task; what the process ended with."""
        self.task = self.future = None
        return self.child.end()


def _run_task(task: Task, context: TaskContext, threads: int) -> FoldResult:
    torch.set_num_threads(threads)
    return run_task(task, context)


def run_tasks(
    tasks: Iterable[Task], engine: Engine, listener: Listener, what: str
) -> dict[str, FoldResult | TaskError]:
    """What became of tasks, by digest; told as `what` while they run."""
    queue = list({task.digest: task for task in tasks}.values())
    total = len(queue)
    outcomes: dict[str, FoldResult | TaskError] = {}
    while len(outcomes) < total:
        while queue and engine.idle > 0:
            engine.submit(queue.pop())
        for finished in engine.wait():
            outcomes[finished.task.digest] = finished.outcome
            listener.progress(what, len(outcomes), total)
            if isinstance(finished.outcome, FoldResult):
                for note in finished.outcome.notes:
                    listener.note(note)
    return outcomes


def require_results(
    outcomes: Mapping[str, FoldResult | TaskError], tasks: Sequence[Task], what: str
) -> list[FoldResult]:
    """The results of `tasks`, in their order.

    Raises:
        StudyError: one of them failed; the others are on disk.
    """
    of_tasks = [outcomes[task.digest] for task in tasks]
    for outcome in of_tasks:
        if isinstance(outcome, TaskError):
            raise StudyError(
                f"{what}: {outcome.reason}: {outcome.message}; mend that and run the same command "
                "again, which trains only what is missing"
            )
    return [outcome for outcome in of_tasks if isinstance(outcome, FoldResult)]
