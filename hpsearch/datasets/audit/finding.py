"""One fault of a dataset."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault: `message` names the thing, the rule and the mend, in one line."""

    severity: Severity
    check: str
    subject: str  # the image, group, type, fold or split at fault
    message: str
