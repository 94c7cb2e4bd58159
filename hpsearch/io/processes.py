"""What child processes owe their parent: to leave Ctrl-C to it, and to end with it.

One function over many jobs in processes, as many jobs under way as there are workers.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from hpsearch.errors import HpsearchError


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Start processes that never hear Ctrl-C: it is for the parent, which ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change, or receive, signals
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def end_with_parent() -> None:
    """End this process when its parent does: else a worker would wait for tasks for ever."""
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


Job = TypeVar("Job")
Result = TypeVar("Result")


def each_in_processes(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int
) -> Iterator[tuple[Job, Result]]:
    """Each job with its result, in the order in which they end.

    The workers are spawned, and ended at once when the iterator is closed or fails. What the
    function raises is raised here.

    Raises:
        HpsearchError: a worker died; the message names the jobs that were under way.
    """
    method = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=method, initializer=end_with_parent)
    waiting, running = iter(jobs), dict[Future[Result], Job]()
    try:
        while True:
            for job in islice(waiting, workers - len(running)):
                with interrupts_ignored():  # a submission may start a process
                    running[pool.submit(function, job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield running.pop(future), result
    except BrokenProcessPool as error:
        lost = ", ".join(sorted(map(str, running.values())))
        what = f"a worker died (killed, or out of memory) while it worked on {lost}"
        raise HpsearchError(f"{what}; run the same command again, or with fewer workers") from error
    finally:
        _end(pool)


def _end(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(cancel_futures=True)
