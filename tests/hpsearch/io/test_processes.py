import math
import operator
import os
import signal
import time
from functools import partial

import pytest

from hpsearch.errors import HpsearchError
from hpsearch.io import processes
from hpsearch.io.processes import Child, each_in_processes, in_order


def test_every_job_once_with_its_result() -> None:
    results = list(each_in_processes(math.factorial, range(7), workers=2))
    assert sorted(results) == [(n, math.factorial(n)) for n in range(7)]


def test_no_jobs() -> None:
    assert list(each_in_processes(math.factorial, [], workers=1)) == []


def test_what_the_function_raises() -> None:
    with pytest.raises(ValueError, match="factorial"):
        list(each_in_processes(math.factorial, [3, -1], workers=1))


def test_a_worker_that_dies_is_reported_with_its_job() -> None:
    with pytest.raises(HpsearchError, match=r"a worker died .* while it worked on 3;") as caught:
        list(each_in_processes(os._exit, [3], workers=1))
    assert str(caught.value).isprintable()


def test_the_job_of_the_worker_that_died_is_named_and_no_other() -> None:
    jobs = [partial(time.sleep, 60), partial(os._exit, 3)]
    began = time.monotonic()
    with pytest.raises(HpsearchError, match=r"worked on functools\.partial\(\S+ \S+ _exit>, 3\);"):
        list(each_in_processes(operator.call, jobs, workers=2))
    assert time.monotonic() - began < 50, "the other worker was waited for"


@pytest.mark.parametrize("workers", [1, 3])
def test_results_in_the_order_of_the_jobs(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_SECONDS", 0)
    assert list(in_order(math.factorial, iter([9, 1, 5, 3]), workers=workers)) == [
        362880,
        1,
        120,
        6,
    ]


def test_short_work_starts_no_process() -> None:
    assert set(in_order(operator.call, [os.getpid] * 3, workers=2)) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_long_work_goes_on_in_other_processes(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "START_SECONDS", 0.001)
    jobs = [partial(time.sleep, 0.01), os.getpid, os.getpid]
    _, *found = in_order(operator.call, jobs, workers=workers)
    assert (os.getpid() in found) == (workers == 1)


def test_a_child_leaves_ctrl_c_to_its_parent_and_starts_anew_after_its_end() -> None:
    child = Child()
    first = child.submit(os.getpid).result()
    os.kill(first, signal.SIGINT)
    assert child.submit(os.getpid).result() == first
    assert child.submit(time.sleep, 0.01).result() is None
    assert 0.01 <= child.seconds < 5
    assert child.end() == -signal.SIGKILL
    assert child.end() is None
    second = child.submit(os.getpid).result()
    os.kill(second, signal.SIGKILL)  # while it is idle
    time.sleep(0.2)
    assert child.submit(os.getpid).result() not in (first, second)
    child.end()
