import math
import os

import pytest

from hpsearch.errors import HpsearchError
from hpsearch.io.processes import each_in_processes


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
