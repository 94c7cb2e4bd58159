"""How a running search looks: a live bar in a terminal, plain lines elsewhere, or JSON."""

import json as json_format
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hpsearch.cli.screen import Screen, say
from hpsearch.config.space import describe
from hpsearch.config.spec import Criterion
from hpsearch.io.text import redacted
from hpsearch.search.events import Listener, TrialReport

FIGURES: Mapping[Criterion, str] = {
    "weak": "AUC",
    "unsupervised": "unsupervised loss",
    "synthetic": "synthetic AUC",
}
"""What a value by each criterion is called."""

_PLAIN_SECONDS = 15.0  # between two plain lines about the same work


@contextmanager
def listener_for(*, json: bool) -> Iterator[Listener]:
    """The listener that fits standard output, shown for as long as the block lasts."""
    console = Screen()
    if json:
        yield JsonListener()
    elif console.is_terminal:
        with (listener := LiveListener(console)).bars:
            yield listener
    else:
        yield PlainListener(say)


class LiveListener:
    """One line a trial, and a bar with the time left below them."""

    def __init__(self, console: Screen) -> None:
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar of `what`."""
        if what not in self._tasks:
            self._tasks[what] = self.bars.add_task(what, total=total, completed=done)
        self.bars.update(self._tasks[what], completed=done, total=total, visible=done < total)

    def trial(self, report: TrialReport) -> None:
        """Print a line above the bars."""
        self.bars.console.print(trial_line(report))

    def note(self, message: str) -> None:
        """Print a line above the bars."""
        self.bars.console.print(message)


class PlainListener:
    """Plain lines, a few a minute, for logs."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self._said: dict[str, float] = {}
        self._started: dict[str, tuple[float, int]] = {}

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far `what` is and how long it will take, now and then and at its end."""
        now = time.monotonic()
        began, at = self._started.setdefault(what, (now, done))
        if done < total and now - self._said.setdefault(what, now) < _PLAIN_SECONDS:
            return
        self._said[what] = now
        left = (now - began) / (done - at) * (total - done) if done > at else 0.0
        self.write(f"{what}: {done}/{total}" + (f", about {left:.0f} s left" if left else ""))

    def trial(self, report: TrialReport) -> None:
        """A line."""
        self.write(trial_line(report))

    def note(self, message: str) -> None:
        """A line."""
        self.write(message)


class JsonListener:
    """One JSON object a line."""

    def progress(self, what: str, done: int, total: int) -> None:
        """An event `progress`."""
        self._print(event="progress", what=what, done=done, total=total)

    def trial(self, report: TrialReport) -> None:
        """An event `trial`."""
        self._print(event="trial", **asdict(report))

    def note(self, message: str) -> None:
        """An event `note`."""
        self._print(event="note", message=redacted(message))

    def _print(self, **event: Any) -> None:
        print(json_format.dumps(event), flush=True)


def trial_line(report: TrialReport) -> str:
    """A trial on one line, told by the axes that differ; the best so far is marked."""
    head = f"trial {report.number:>3}  "
    if report.state == "failed":
        why = f"{report.failure}: {report.failure_message}"
        return f"{head}failed  {describe(report.varied)}  {why}"
    folds = " ".join(figure(report.criterion, value) for value in report.fold_values)
    mark = "*" if report.best else " "
    state = "" if report.state == "complete" else f"  {report.state}"
    return (
        f"{head}{FIGURES[report.criterion]} {figure(report.criterion, report.value or 0.0)}{mark} "
        f"(folds {folds})  {report.seconds:5.1f} s  {describe(report.varied)}{state}"
    )


def figure(criterion: Criterion, value: float) -> str:
    """A value by a criterion as it is shown: a loss is positive again, and lower is better."""
    return f"{-value:#.4g}" if criterion == "unsupervised" else f"{value:.3f}"
