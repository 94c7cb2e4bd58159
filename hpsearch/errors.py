"""Exceptions of the toolkit.

HpsearchError
├── UserError              a mistake that the user can mend: one line, exit code 2, no traceback
│   ├── SpecError          a study file or an option breaks a rule
│   ├── DataError          an image, a manifest or a dataset breaks a rule
│   ├── WeightsError       backbone weights are missing or do not fit
│   └── StudyError         the study on disk is another one, is in use, or is damaged
└── TaskError              one training failed; its reason is recorded and the search goes on

A message names the thing, the rule and the mend, in one line.
"""

from typing import Literal

FailureReason = Literal["non_finite", "out_of_memory", "timeout", "bad_data", "worker_lost"]


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


class TaskError(HpsearchError):
    """One training failed for a reason that is stored with its trial."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason: FailureReason = reason
        self.message = message

    def __reduce__(self) -> tuple[type["TaskError"], tuple[FailureReason, str]]:
        # An exception crosses process boundaries by its constructor's arguments.
        return type(self), (self.reason, self.message)
