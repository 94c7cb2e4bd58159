"""Exceptions of the toolkit.

HpsearchError
├── UserError              a mistake that the user can mend: one line, exit code 2, no traceback
│   ├── SpecError          a study file or an option breaks a rule
│   ├── DataError          an image, a manifest or a dataset breaks a rule
│   ├── WeightsError       backbone weights are missing or do not fit
│   └── StudyError         the study on disk is another one, is in use, or is damaged
│       └── NothingCompletedError   no configuration was completed: exit code 3
└── TaskError              one training failed; its reason is recorded and the search goes on

A message names the thing, the rule and the mend, in one line.
"""

from typing import Literal

FailureReason = Literal[
    "non_finite",  # the loss or a score
    "out_of_memory",
    "disk_full",
    "worker_lost",  # its process was killed, or ended itself
    "timeout",  # it took longer than the study allows
    "bad_output",  # the detector gave something else than the protocol says
    "error",  # any other exception
]

ENVIRONMENT: frozenset[FailureReason] = frozenset({"out_of_memory", "disk_full", "worker_lost"})
"""Reasons that lie with the machine: the same training may well succeed another time."""


class HpsearchError(Exception):
    """Root of every error that `hpsearch` raises on purpose."""


class UserError(HpsearchError):
    """A mistake that the user can mend."""


class SpecError(UserError):
    """A study file or an option breaks a rule."""


class DataError(UserError):
    """An image, a manifest or a dataset breaks a rule."""


class WeightsError(UserError):
    """Backbone weights are missing or do not fit."""


class StudyError(UserError):
    """The study on disk is another one, is in use by another process, or is damaged."""


class NothingCompletedError(StudyError):
    """The search of a study has ended, or its time is up, without one completed configuration."""


class TaskError(HpsearchError):
    """One training failed for a reason that is stored with its trial.

    Args:
        reason: what kind of failure it is.
        message: one line.
        traceback: its last lines, where an exception that nobody expected ended the training.
    """

    def __init__(
        self, reason: FailureReason, message: str, traceback: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.reason: FailureReason = reason
        self.message = message
        self.traceback = traceback

    def __reduce__(self) -> tuple[type["TaskError"], tuple[FailureReason, str, tuple[str, ...]]]:
        # An exception crosses process boundaries by its constructor's arguments.
        return type(self), (self.reason, self.message, self.traceback)
