"""Work in child processes, and how far it is.

Everything that runs in a child runs in a `Child`: decoding, preparing and training. A child leaves
Ctrl-C to its parent, ends with it however it ends, and takes nothing but its own call with it when
it dies.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import ParamSpec, Protocol, TypeVar

from hpsearch.errors import HpsearchError

Progress = Callable[[str, int, int], None]
"""Called as `progress(what, done, total)`, e.g. `progress("decoding", 512, 2000)`."""

START_SECONDS = 1.0  # that a process takes to start and to import what it needs

_Job = TypeVar("_Job")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def silent(what: str, done: int, total: int) -> None:
    """The progress callable that tells nobody."""


class Reporter(Protocol):
    """Told of progress and of what is worth a line; must not raise."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` pieces of `what` are finished."""

    def note(self, message: str) -> None:
        """Something worth a line."""


class Child:
    """A process that runs one call at a time; started when needed, also after its end.

    Each is an executor of the standard library with one process, not one of the processes of
    joblib's pool: there a process that dies takes the calls of all others with it, one that hangs
    cannot be ended alone, which process gets a call (and so which GPU) cannot be told, and they
    hear Ctrl-C and outlive a parent that is killed. From joblib we take the number of cores, which
    honours the limits of containers.
    """

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._began: float | None = None

    @property
    def seconds(self) -> float:
        """How long its call has been running; the start of the process does not count."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def submit(
        self,
        function: Callable[_Arguments, _Result],
        *arguments: _Arguments.args,
        **named: _Arguments.kwargs,
    ) -> Future[_Result]:
        """Begin a call; the future of one whose process dies raises `BrokenProcessPool`.

        Raises:
            OSError: no process can be started.
        """
        self._began = None
        for _ in range(2):
            if self._executor is None:
                # Spawned, for a forked child of a process that has used CUDA or threads can hang.
                spawn = multiprocessing.get_context("spawn")
                self._executor = ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin)
            try:
                with _interrupts_ignored():  # the first submission starts the process
                    self._executor.submit(_imported, function).add_done_callback(self._note_begin)
                    return self._executor.submit(function, *arguments, **named)
            except BrokenProcessPool:  # it died while it was idle
                self.end()
            except BaseException:
                self._executor = None
                raise
        raise BrokenProcessPool("a process that was just started died before its first call")

    def end(self) -> int | None:
        """Kill the process and forget its call; the exit code, None where there is no process."""
        executor, self._executor = self._executor, None
        if executor is None:
            return None
        # Private in Python 3.11 to 3.13, where nothing else ends a process that hangs.
        processes = list((executor._processes or {}).values())
        for process in processes:
            process.kill()  # no gentler: what hangs may not hear, and results appear whole
        executor.shutdown(cancel_futures=True)
        return next((process.exitcode for process in processes), None)

    def _note_begin(self, _: Future[None]) -> None:
        self._began = time.monotonic()


def each_in_processes(
    function: Callable[[_Job], _Result], jobs: Iterable[_Job], *, workers: int
) -> Iterator[tuple[_Job, _Result]]:
    """Each job with its result, in the order in which they end.

    As many jobs are under way as there are workers, which are ended at once when the iterator is
    closed or fails. What the function raises is raised here.

    Raises:
        HpsearchError: a worker died; the message names its job.
    """
    for _, job, result in _numbered_results(function, jobs, workers):
        yield job, result


def in_order(
    function: Callable[[_Job], _Result], jobs: Iterable[_Job], *, workers: int
) -> Iterator[_Result]:
    """The result of each job, in the order of the jobs.

    With one worker, and for the first second with several, the work is done in this process: so
    short work needs no others, which take as long to start.

    Raises:
        HpsearchError: as `each_in_processes`.
    """
    waiting = iter(jobs)
    began = time.monotonic()
    for job in waiting:
        yield function(job)
        if workers > 1 and time.monotonic() - began >= START_SECONDS:
            break
    early: dict[int, _Result] = {}  # whose turn has not come
    turn = 0
    for number, _, result in _numbered_results(function, waiting, workers):
        early[number] = result
        while turn in early:
            yield early.pop(turn)
            turn += 1


def _numbered_results(
    function: Callable[[_Job], _Result], jobs: Iterable[_Job], workers: int
) -> Iterator[tuple[int, _Job, _Result]]:
    children = [Child() for _ in range(workers)]
    free = children[:]
    waiting = enumerate(jobs)
    running: dict[Future[_Result], tuple[Child, int, _Job]] = {}
    try:
        while True:
            for number, job in islice(waiting, len(free)):
                child = free.pop()
                running[child.submit(function, job)] = child, number, job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                child, number, job = running[future]
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    what = f"a worker died (killed, or out of memory) while it worked on {job}"
                    way = "run the same command again, or with fewer workers"
                    raise HpsearchError(f"{what}; {way}") from error
                del running[future]
                free.append(child)
                yield number, job, result
    finally:
        for child in children:
            child.end()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Start processes that never hear Ctrl-C: it is for the parent, which ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change, or receive, signals
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _begin() -> None:
    """In the child: leave Ctrl-C alone, whoever started it, and end when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:  # else it would wait for calls for ever
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _imported(function: Callable[..., object]) -> None:
    """Ends when the child has started, and imported the module of a function."""
