"""Where tasks run: processes of this machine, each with its share of the cores or its own GPU."""

import multiprocessing
import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Protocol

import joblib
import torch

from hpsearch.errors import SpecError, TaskError
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
    wanted = workers or (len(devices) if devices != ("cpu",) else cores)
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

    A worker that is killed takes the pool with it: the pool is made anew and every task that was
    under way runs again, at most three times in all.
    """

    def __init__(self, context: TaskContext, workers: Workers) -> None:
        self.context = context
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._running: dict[Future[FoldResult], Task] = {}
        self._attempts: dict[str, int] = {}

    @property
    def idle(self) -> int:
        """Workers without a task."""
        return self.workers.count - len(self._running)

    def submit(self, task: Task) -> None:
        """Give a task to a worker."""
        if self._pool is None:
            self._pool = self._start()
        self._running[self._pool.submit(_work, task)] = task

    def wait(self) -> list[Finished]:
        """Tasks that have finished since."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
            return self._recover()
        return [Finished(self._running.pop(future), _outcome(future)) for future in done]

    def close(self) -> None:
        """End the workers at once."""
        if self._pool is not None:
            for process in multiprocessing.active_children():
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
            initargs=(self.context, self.workers, numbers),
        )

    def _recover(self) -> list[Finished]:
        """Run again what was under way when a worker died."""
        lost = list(self._running.items())
        self._running.clear()
        self.close()
        finished = []
        for future, task in lost:
            if future.done() and not isinstance(future.exception(), BrokenProcessPool):
                finished.append(Finished(task, _outcome(future)))
                continue
            self._attempts[task.digest] = self._attempts.get(task.digest, 1) + 1
            if self._attempts[task.digest] <= _ATTEMPTS:
                self.submit(task)
            else:
                error = TaskError("worker_lost", f"its worker died {_ATTEMPTS} times")
                finished.append(Finished(task, error))
        return finished


def _outcome(future: Future[FoldResult]) -> FoldResult | TaskError:
    error = future.exception()
    if isinstance(error, TaskError):
        return error
    return future.result()


_context: TaskContext | None = None


def _start_worker(
    context: TaskContext, workers: Workers, numbers: "multiprocessing.Queue[int]"
) -> None:
    global _context  # a pool's worker has no other place for what it was started with
    device = workers.devices[numbers.get() % len(workers.devices)]
    _context = replace(context, device=device)
    torch.set_num_threads(workers.threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> FoldResult:
    if _context is None:
        raise RuntimeError("the worker was not started by LocalEngine")
    return run_task(task, _context)
