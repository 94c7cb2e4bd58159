"""Where tasks run: processes of this machine, each with its share of the cores or its own GPU.

`run_tasks` runs those outside the search.
"""

import multiprocessing
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Protocol

import joblib
import torch

from hpsearch.errors import SpecError, StudyError, TaskError
from hpsearch.io.faults import failure_of
from hpsearch.io.processes import end_with_parent, interrupts_ignored
from hpsearch.search.events import Listener
from hpsearch.search.task import Task, TaskContext, run_task
from hpsearch.storage.results import FoldResult

_ATTEMPTS = 3  # at a task whose process dies, before it is given up


@dataclass(frozen=True, eq=False)
class Finished:
    """A task and its result, or the error that ended it."""

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
    """

    count: int
    threads: int
    devices: tuple[str, ...]  # dealt to the workers in turn


def plan_workers(device: str, workers: int | None) -> Workers:
    """One worker a GPU, or one a core; fewer where `workers` asks for fewer.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        workers: how many processes, None for as many as are useful.

    Raises:
        SpecError: a device that is not there, or more workers than cores.
    """
    cores = joblib.cpu_count()
    devices = _devices(device)
    useful = cores if devices == ("cpu",) else min(len(devices), cores)
    wanted = useful if workers is None else workers
    if not 1 <= wanted <= cores:
        raise SpecError(
            f"workers must be from 1 to {cores}, the cores of this machine, got {wanted}"
        )
    return Workers(wanted, cores // wanted, devices)


def _devices(device: str) -> tuple[str, ...]:
    count = torch.cuda.device_count()
    every = tuple(f"cuda:{number}" for number in range(count))
    if device == "auto":
        return every or ("cpu",)
    if device == "cuda" and every:
        return every
    if device == "cpu" or device in every:
        return (device,)
    raise SpecError(f"device {device!r}: this machine has {', '.join(('cpu', *every))}; choose one")


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
        self._workers = [
            _Worker(workers.devices[number % len(workers.devices)], workers.threads)
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
        next(worker for worker in self._workers if worker.task is None).start(task, self._context)

    def wait(self, timeout: float | None = None) -> list[Finished]:
        """Tasks that have finished since."""
        busy = [worker for worker in self._workers if worker.future is not None]
        limits = [timeout, *(self._left(worker) for worker in busy)]
        known = [max(0.0, limit) for limit in limits if limit is not None]
        futures = [worker.future for worker in busy if worker.future is not None]
        wait(futures, timeout=min(known, default=None), return_when=FIRST_COMPLETED)
        finished = [ended for worker in busy if (ended := self._ended(worker)) is not None]
        self._next_suspect({result.task.digest for result in finished})
        return finished

    def close(self) -> None:
        """End the workers at once, and forget their tasks."""
        for worker in self._workers:
            worker.end()
        self._suspects.clear()

    def _left(self, worker: "_Worker") -> float | None:
        """Seconds that a worker's task may still take."""
        return None if self.fold_timeout is None else self.fold_timeout - worker.seconds

    def _ended(self, worker: "_Worker") -> Finished | None:
        """What became of a worker's task, None where it goes on or is to run again."""
        task, future = worker.task, worker.future
        if task is None or future is None:
            return None
        if not future.done():
            left = self._left(worker)
            if left is None or left > 0:
                return None
            worker.end()
            return Finished(task, _took_too_long(self.fold_timeout))
        outcome = _outcome(future)
        if outcome is None:
            code = worker.end()
            lost = self._lose(task, code)
            return None if lost is None else Finished(task, lost)
        if isinstance(outcome, TaskError) and worker.is_spoilt_by(outcome):
            worker.end()
        worker.task = worker.future = None
        return Finished(task, outcome)

    def _lose(self, task: Task, code: int | None) -> TaskError | None:
        """Note that a worker died while the task was under way; give the task up in the end."""
        attempts = self._attempts[task.digest] = self._attempts.get(task.digest, 0) + 1
        if attempts >= _ATTEMPTS:
            return TaskError("worker_lost", f"its process ended {attempts} times{_by(code)}")
        if task not in self._suspects:
            self._suspects.append(task)
        return None

    def _next_suspect(self, ended: set[str]) -> None:
        self._suspects = [task for task in self._suspects if task.digest not in ended]
        if self._suspects and all(worker.task is None for worker in self._workers):
            self.submit(self._suspects[0])


class _Worker:
    """A process that runs one task at a time; it is started when needed, also after its end."""

    def __init__(self, device: str, threads: int) -> None:
        self.device = device
        self.threads = threads
        self.task: Task | None = None
        self.future: Future[FoldResult] | None = None
        self._pool: ProcessPoolExecutor | None = None
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """How long its task has been running; its own start does not count."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def start(self, task: Task, context: TaskContext) -> None:
        """Run a task."""
        self.task, self._began = task, None
        context = replace(context, device=self.device)
        try:
            with interrupts_ignored():  # the first submission starts the process
                self.future = self._submit(task, context)
        except BrokenProcessPool:  # it died while it was idle
            self.end()
            self.start(task, context)
        except Exception as error:  # no process can be started, for memory is short
            self._pool, self.future = None, Future()
            self.future.set_exception(error)

    def is_spoilt_by(self, failure: TaskError) -> bool:
        """Whether the next task must not run in this process: memory is still held, or an error
        has broken the process's access to its GPU."""
        on_gpu = self.device.startswith("cuda")
        return failure.reason == "out_of_memory" or (on_gpu and failure.reason == "error")

    def end(self) -> int | None:
        """Kill the process and forget its task; what the process ended with."""
        pool, self._pool, self.task, self.future = self._pool, None, None, None
        if pool is None:
            return None
        processes = list((pool._processes or {}).values())
        for process in processes:
            process.kill()  # no gentler: what hangs may not hear, and results appear whole
        pool.shutdown(cancel_futures=True)
        return next((process.exitcode for process in processes), None)

    def _submit(self, task: Task, context: TaskContext) -> Future[FoldResult]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1,
                # Spawned, for a forked child of a process that has used CUDA or threads can hang.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self.threads,),
            )
        self._pool.submit(_ready).add_done_callback(self._begin)
        return self._pool.submit(run_task, task, context)

    def _begin(self, _: Future[None]) -> None:
        self._began = time.monotonic()


def _outcome(future: Future[FoldResult]) -> FoldResult | TaskError | None:
    """What a task gave, None where its worker died."""
    error = future.exception()
    if error is None:
        return future.result()
    return None if isinstance(error, BrokenProcessPool) else failure_of(error)


def _took_too_long(seconds: float | None) -> TaskError:
    return TaskError("timeout", f"took longer than the {seconds:g} s of --fold-timeout")


def _by(code: int | None) -> str:
    if code is None:
        return ""
    return f", by {signal.Signals(-code).name}" if code < 0 else f", with exit code {code}"


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    end_with_parent()


def _ready() -> None:
    """Ends when the process has started."""


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
    found = [outcomes[task.digest] for task in tasks]
    for outcome in found:
        if isinstance(outcome, TaskError):
            raise StudyError(
                f"{what}: {outcome.reason}: {outcome.message}; mend that and run the same command "
                "again, which trains only what is missing"
            )
    return [outcome for outcome in found if isinstance(outcome, FoldResult)]
