"""What a running search tells of itself; the command line shows it."""

from dataclasses import dataclass
from typing import Literal, Protocol

from hpsearch.space import Params

EndState = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class TrialReport:
    """How a trial ended.

    Attributes:
        number: of the trial, from 0.
        params: its configuration.
        varied: of these, the axes that the study searches.
        state: how it ended.
        value: mean validation ROC AUC of its folds; None where it failed.
        fold_aurocs: of the folds that were scored, by fold.
        seconds: of training, over the folds.
        failure: the reason, where it failed.
    """

    number: int
    params: Params
    varied: Params
    state: EndState
    value: float | None
    fold_aurocs: tuple[float, ...]
    seconds: float
    failure: str | None = None


class Listener(Protocol):
    """Told of progress; must not raise."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` pieces of `what` are finished."""

    def trial(self, report: TrialReport) -> None:
        """A trial has ended."""

    def note(self, message: str) -> None:
        """Something worth a line."""


class SilentListener:
    """Tells nobody."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def trial(self, report: TrialReport) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
