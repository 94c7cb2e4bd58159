"""The figures of a table, ours beside the paper's, one line each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import pandas as pd

from hpsearch.config.space import describe
from hpsearch.config.spec import Criterion
from hpsearch.paper.contents import CLASSES, PaperTable, Part
from hpsearch.paper.numbers import OURS, Metric, PaperNumber, find_number, paper_number
from hpsearch.paper.running import Answer, Outcome, spread

Status = Literal["run", "absent", "failed", "reported"]
"""Run here; its images could not be used; its study failed; the paper's alone."""

VARIANTS: dict[Criterion, str] = {"weak": "weakly-supervised", "unsupervised": "unsupervised"}
"""How hyperparameters are chosen, as the paper calls it."""
_WITH, _WITHOUT = "with growing", "without growing"  # as in the paper's numbers
_PERCENT, _MINUTE = 100.0, 60.0


@dataclass(frozen=True)
class Figure:
    """A figure of ours, in the unit of its table: percent or minutes.

    Attributes:
        value: the mean over final trainings, and over classes where there are several.
        low, high: of the 95 % bootstrap interval, None where it cannot be had; of minutes, the
            shortest and longest training. For several classes the means of the classes' ends, which
            is wide enough however the classes hang together (they share their test images).
        runs: one value a final training.
        tasks: the directories of those trainings.
        images: test normals and test anomalies; None for several classes.
        params: the chosen configuration; "" for several classes.
        seconds: of all trainings behind it.
    """

    value: float
    low: float | None
    high: float | None
    runs: tuple[float, ...]
    tasks: tuple[Path, ...]
    images: tuple[int, int] | None
    params: str
    seconds: float

    @property
    def std(self) -> float | None:
        """Over the final trainings, None for one alone."""
        return spread(self.runs)


@dataclass(frozen=True)
class Line:
    """One figure of a table; `classes` is empty where the data set has none."""

    dataset: str
    classes: tuple[str, ...]
    method: str
    variant: str
    metric: Metric
    status: Status
    ours: Figure | None = None
    paper: PaperNumber | None = None
    why: str | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, where there are both."""
        return self.ours.value - self.paper.value if self.ours and self.paper else None


def table_lines(
    table: PaperTable, parts: Sequence[Part], outcomes: Sequence[Outcome], numbers: pd.DataFrame
) -> list[Line]:
    """Our lines in the table's order, then those of the methods that are not run here.

    Args:
        table: whose lines.
        parts: of the table.
        outcomes: of the studies of the parts, in the same order.
        numbers: the paper's, see `hpsearch.paper.numbers`.
    """
    pairs = list(zip(parts, outcomes, strict=True))
    groups = [[pair] for pair in pairs]
    if table.mean:
        names = dict.fromkeys(part.dataset for part in parts)
        groups = [[pair for pair in pairs if pair[0].dataset == name] for name in names]
    ours = [
        _line(table, group, criterion, numbers)
        for group in groups
        for criterion in table.criteria_of(group[0][0])
    ]
    return ours + _reported(table, parts, numbers)


def _line(
    table: PaperTable,
    group: Sequence[tuple[Part, Outcome]],
    criterion: Criterion,
    numbers: pd.DataFrame,
) -> Line:
    """The line of one study, or of the studies of a data set's classes."""
    answered = [(part, outcome) for part, outcome in group if criterion in outcome.answers]
    wanting = [outcome for _, outcome in group if criterion not in outcome.answers]
    part = group[0][0]
    classes = tuple(part.normal_class for part, _ in answered or group if part.normal_class)
    failed = next((outcome.failure for outcome in wanting if outcome.failure), None)
    absent = next((outcome.absent for outcome in wanting if outcome.absent), None)
    status: Status = "run" if answered else "failed" if failed else "absent"
    return Line(
        part.dataset,
        classes,
        OURS,
        _variant(table, part, criterion),
        table.metric,
        status,
        _mean([_figure(table, outcome, criterion) for _, outcome in answered]),
        _papers(table, part, classes, criterion, numbers),
        failed or absent,
    )


def _variant(table: PaperTable, part: Part, criterion: Criterion) -> str:
    growing = _WITH if part.growing else _WITHOUT
    return f"{VARIANTS[criterion]}, {growing}" if True in table.growing else VARIANTS[criterion]


def _papers(
    table: PaperTable,
    part: Part,
    classes: Sequence[str],
    criterion: Criterion,
    numbers: pd.DataFrame,
) -> PaperNumber | None:
    """What the paper has for a line: in this table or, where that is finer, in another."""
    data = part.dataset
    if criterion == "unsupervised":  # Table 4 has it, for what is trained without growing
        if table.by_class:
            return None
        return find_number(numbers, table=4, dataset=data, variant="PL + unsupervised")
    if table.mean and classes != CLASSES.get(data):
        return _mean_of_classes(data, classes, numbers)
    if table.by_class and not table.mean:
        return _of_class(data, classes[0], numbers)
    variant = _WITH if part.growing else _WITHOUT
    return find_number(numbers, table=table.number, dataset=data, variant=variant)


def _of_class(dataset: str, normal_class: str, numbers: pd.DataFrame) -> PaperNumber | None:
    return find_number(
        numbers, table=5, dataset=dataset, normal_class=normal_class, variant=VARIANTS["weak"]
    )


def _mean_of_classes(
    dataset: str, classes: Sequence[str], numbers: pd.DataFrame
) -> PaperNumber | None:
    found = [_of_class(dataset, name, numbers) for name in classes]
    values = [number.value for number in found if number]
    if len(values) < len(classes):
        return None
    return PaperNumber(fmean(values), None, f"Table 5, mean over {', '.join(classes)}")


def _figure(table: PaperTable, outcome: Outcome, criterion: Criterion) -> Figure:
    answer, tasks = outcome.answers[criterion], tuple(outcome.tasks(criterion))
    value, low, high, runs = _auroc(answer) if table.metric == "auroc_percent" else _time(answer)
    test = answer.test
    images = (test.n_normal, test.n_anomaly)
    params = describe(answer.params, tuple(answer.searched) or None)
    return Figure(value, low, high, runs, tasks, images, params, answer.seconds)


_Values = tuple[float, float | None, float | None, tuple[float, ...]]
"""Of a `Figure`: value, low, high, runs."""


def _auroc(answer: Answer) -> _Values:
    test = answer.test
    low, high = (None if end is None else _PERCENT * end for end in (test.low, test.high))
    return _PERCENT * test.auroc, low, high, tuple(_PERCENT * run for run in answer.runs)


def _time(answer: Answer) -> _Values:
    minutes = tuple(seconds / _MINUTE for seconds in answer.final_seconds)
    return fmean(minutes), min(minutes), max(minutes), minutes


def _mean(figures: Sequence[Figure]) -> Figure | None:
    """The mean over classes; of one figure, itself."""
    if len(figures) < 2:
        return figures[0] if figures else None
    return Figure(
        fmean(figure.value for figure in figures),
        _mean_end([figure.low for figure in figures]),
        _mean_end([figure.high for figure in figures]),
        tuple(map(fmean, zip(*(figure.runs for figure in figures), strict=True))),
        tuple(task for figure in figures for task in figure.tasks),
        None,
        "",
        sum(figure.seconds for figure in figures),
    )


def _mean_end(ends: Sequence[float | None]) -> float | None:
    """The mean of intervals' ends, None where one cannot be had."""
    known = [end for end in ends if end is not None]
    return fmean(known) if len(known) == len(ends) else None


def _reported(table: PaperTable, parts: Sequence[Part], numbers: pd.DataFrame) -> list[Line]:
    """What the paper has of other methods, for the data sets and classes of the parts."""
    wanted = {(part.dataset, "" if table.mean else part.normal_class) for part in parts}
    rows = numbers[(numbers["table"] == table.number) & (numbers["method"] != OURS)]
    return [
        Line(
            row["dataset"],
            (row["class"],) if row["class"] else (),
            row["method"],
            row["variant"],
            table.metric,
            "reported",
            paper=paper_number(row),
        )
        for _, row in rows.iterrows()
        if (row["dataset"], row["class"]) in wanted
    ]
