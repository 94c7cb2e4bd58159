import errno
import os

import pytest
import torch

from hpsearch.errors import DataError, TaskError
from hpsearch.io.faults import failure_of


def _caused_by(cause: BaseException) -> Exception:
    try:
        raise DataError("cache: cannot be written") from cause
    except DataError as error:
        return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"), "out_of_memory"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "out_of_memory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk_full"),
        (_caused_by(OSError(errno.EDQUOT, "quota")), "disk_full"),
        (ValueError("out of memory lane"), "error"),
        (OSError(errno.EACCES, "no"), "error"),
        (SystemExit(1), "error"),
        (TaskError("timeout", "x"), "timeout"),
    ],
    ids=repr,
)
def test_the_reason_of_any_exception(error: BaseException, reason: str) -> None:
    assert failure_of(error).reason == reason


def test_torch_says_that_memory_of_the_cpu_is_short() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert failure_of(caught.value).reason == "out_of_memory"


def test_the_class_is_named_but_for_our_own_errors() -> None:
    assert failure_of(KeyError("step")).message == "KeyError: 'step'"
    assert failure_of(DataError("image 3: gone")).message == "image 3: gone"
    assert failure_of(AssertionError()).message == "AssertionError"
