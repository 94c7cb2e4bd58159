"""What a running search tells of itself; the command line shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from hpsearch.config.space import Params
from hpsearch.config.spec import Criterion
from hpsearch.io.processes import Reporter

EndState = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class TrialReport:
    """How a trial ended.

    Attributes:
        number: of the trial, from 0.
        params: its configuration.
        varied: of these, the axes that the study searches.
        state: how it ended.
        criterion: by which the study chooses; higher = better.
        value: by that criterion, the mean over folds; None where no fold was scored.
        fold_values: of the folds that were scored, by fold.
        criteria: the means by every criterion; empty where no fold was scored.
        seconds: of training, over the folds.
        best: completed, with a higher value than any before it in the study.
        failure: the reason, where it failed.
        failure_message: what happened, where it failed, in one line.
    """

    number: int
    params: Params
    varied: Params
    state: EndState
    criterion: Criterion
    value: float | None
    fold_values: tuple[float, ...]
    criteria: Mapping[Criterion, float]
    seconds: float
    best: bool
    failure: str | None = None
    failure_message: str | None = None


class Listener(Reporter, Protocol):
    """Told of trials besides; must not raise."""

    def trial(self, report: TrialReport) -> None:
        """A trial has ended."""


class SilentListener:
    """Tells nobody."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def trial(self, report: TrialReport) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""
