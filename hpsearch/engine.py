"""Where tasks run: processes of this machine, each with its share of the cores or its own GPU."""

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Protocol

import joblib
import torch

from hpsearch.errors import SpecError, TaskError
from hpsearch.processes import end_with_parent, interrupts_ignored
from hpsearch.results import FoldResult
from hpsearch.task import Task, TaskContext, run_task

_ATTEMPTS = 3  # at a task whose worker dies, before it is given up


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

    def wait(self) -> list[Finished]:
        """Block until tasks have finished, and return them; empty when none is under way."""

    def close(self) -> None:
        """Stop the workers; tasks under way are abandoned."""


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
    """A pool of processes on this machine.

    A worker that is killed takes the pool with it. The pool is made anew, and the tasks that were
    under way run again, one at a time: so the one that kills its workers is found, and given up
    after three attempts, and the others end well.
    """

    def __init__(self, context: TaskContext, workers: Workers) -> None:
        self.context = context
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._running: dict[Future[FoldResult], Task] = {}
        self._attempts: dict[str, int] = {}
        self._suspects: list[Task] = []  # the first of them is under way, alone

    @property
    def idle(self) -> int:
        """Workers that may take a task."""
        return 0 if self._suspects else self.workers.count - len(self._running)

    def submit(self, task: Task) -> None:
        """Give a task to a worker."""
        if self._pool is None:
            self._pool = self._start()
        try:
            with interrupts_ignored():  # the first submission starts the processes
                future = self._pool.submit(_work, task, self.context)
        except BrokenProcessPool as error:  # a worker died since; `wait` finds that out
            future = Future()
            future.set_exception(error)
        self._running[future] = task

    def wait(self) -> list[Finished]:
        """Tasks that have finished since."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        lost = any(_is_lost(future) for future in done)
        ready = list(self._running) if lost else done
        if lost:
            self.close()
        alone = len(self._running) == 1
        finished = []
        for future in ready:
            task = self._running.pop(future)
            ended = self._lose(task, alone=alone) if _is_lost(future) else _outcome(future)
            if ended is not None:
                finished.append(Finished(task, ended))
        self._next_suspect({result.task.digest for result in finished})
        return finished

    def close(self) -> None:
        """End the workers at once."""
        if self._pool is not None:
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _start(self) -> ProcessPoolExecutor:
        # Spawned, for a forked child of a process that has used CUDA or threads can hang.
        method = multiprocessing.get_context("spawn")
        numbers = method.Queue()
        for number in range(self.workers.count):
            numbers.put(number)
        return ProcessPoolExecutor(
            self.workers.count,
            mp_context=method,
            initializer=_start_worker,
            # Small, for a child reads it only after its imports, and the parent waits that long.
            initargs=(self.workers, numbers),
        )

    def _lose(self, task: Task, *, alone: bool) -> TaskError | None:
        """Note that a worker died while the task was under way; give the task up in the end."""
        attempts = self._attempts[task.digest] = self._attempts.get(task.digest, 0) + 1
        if alone and attempts >= _ATTEMPTS:
            return TaskError("worker_lost", f"its worker died {attempts} times")
        if task not in self._suspects:
            self._suspects.append(task)
        return None

    def _next_suspect(self, ended: set[str]) -> None:
        self._suspects = [task for task in self._suspects if task.digest not in ended]
        if self._suspects and not self._running:
            self.submit(self._suspects[0])


def _is_lost(future: Future[FoldResult]) -> bool:
    if not future.done() or future.cancelled():
        return True
    return isinstance(future.exception(), BrokenProcessPool)


def _outcome(future: Future[FoldResult]) -> FoldResult | TaskError:
    error = future.exception()
    if isinstance(error, TaskError):
        return error
    return future.result()


_device: str | None = None  # of this worker; a pool's worker has no other place to keep it


def _start_worker(workers: Workers, numbers: "multiprocessing.Queue[int]") -> None:
    global _device
    _device = workers.devices[numbers.get() % len(workers.devices)]
    torch.set_num_threads(workers.threads)
    end_with_parent()


def _work(task: Task, context: TaskContext) -> FoldResult:
    if _device is None:
        raise RuntimeError("the worker was not started by LocalEngine")
    return run_task(task, replace(context, device=_device))
