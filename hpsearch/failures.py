"""Why trainings fail: any exception as a `TaskError`, and the failed trials of a study in words."""

import errno
import re
import traceback
from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial

from hpsearch.errors import FailureReason, HpsearchError, TaskError
from hpsearch.files import printable

_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can.?not allocate memory|can't allocate memory|_ALLOC_FAILED",
    re.IGNORECASE,
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MESSAGE, _LINE = 300, 200  # characters
_LINES = 12  # of a traceback
_NAMED = 3  # trials that a sentence names


def failure_of(error: BaseException) -> TaskError:
    """What ended a training, as it is stored: printable, bounded, and able to cross processes."""
    if isinstance(error, TaskError):
        return TaskError(error.reason, shortened(error.message), error.traceback)
    name = "" if isinstance(error, HpsearchError) else f"{type(error).__name__}: "
    lines = "".join(traceback.format_tb(error.__traceback__)).splitlines()  # a message may be long
    return TaskError(
        _reason(error),
        shortened(f"{name}{error}".removesuffix(": ")),
        tuple(shortened(line, _LINE) for line in lines[-_LINES:]),
    )


def shortened(text: object, length: int = _MESSAGE) -> str:
    """Any text on one line that a terminal may show, cut off after `length` characters."""
    shown = printable(text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def failures_sentence(failed: Sequence[FrozenTrial], *, tried: int) -> str:
    """How many of the configurations that were tried failed, and why.

    Args:
        failed: trials of `hpsearch.trials.Trials.failed`, one or more.
        tried: configurations, failed ones included.
    """
    named = "; ".join(
        f"trial {trial.number} {reason_of(trial)}: {message_of(trial)}" for trial in failed[:_NAMED]
    )
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return f"{len(failed)} of {tried} configurations failed: {named}{more}"


def reason_of(trial: FrozenTrial) -> str:
    """Of a failed trial, `error` where it is not known."""
    return str(trial.user_attrs.get("failure", "error"))


def message_of(trial: FrozenTrial) -> str:
    """Of a failed trial."""
    return shortened(trial.user_attrs.get("failure_message", "unknown"))


def _reason(error: BaseException) -> FailureReason:
    for cause in _causes(error):
        if isinstance(cause, MemoryError) or _OUT_OF_MEMORY.search(_told_by_system(cause)):
            return "out_of_memory"
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return "disk_full"
    return "error"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it followed from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _told_by_system(error: BaseException) -> str:
    # torch raises RuntimeError for memory of the CPU and of some CUDA libraries.
    return str(error) if isinstance(error, RuntimeError | OSError) else ""
