"""The label-budget figure (the paper's Fig. 4): test AUC against labelled anomalies.

It is drawn from curves that were just computed, as a page of its own, and for a study's report from
the CSV file that this left.
"""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hpsearch.errors import StudyError
from hpsearch.evaluation.label_budget.curves import BudgetCurves
from hpsearch.reports.document import Figure, Table, Text
from hpsearch.reports.drawing import COLOURS, MARKERS, Axis, Drawing, Line, Mark, Rule

_ASIDE = 1.06  # from one line to the next, on the logarithmic axis
_FILES = ("label_budget.csv", "fig4.csv")
_OF = {"final": "models trained on all normals", "folds": "models of the folds"}


class BudgetLine(NamedTuple):
    """Test AUC by the number of labelled anomalies, of one number of types.

    Attributes:
        n_types: the number.
        examples, means, stds, regrets: equally long; the spread is 0 where there is one draw.
        hollow: which are drawn from fewer types than there are, for the others hold too few.
    """

    n_types: int
    examples: tuple[int, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    regrets: tuple[float, ...]
    hollow: tuple[bool, ...]

    @property
    def name(self) -> str:
        """As the legend has it."""
        return f"{self.n_types} anomaly type{'' if self.n_types == 1 else 's'}"


class Budget(NamedTuple):
    """What labelled anomalies buy.

    Attributes:
        lines: one a number of types.
        best, worst: test AUC of configurations of the grid.
        repeats: draws behind each point.
        models: whose scores, `final` or `folds`.
    """

    lines: tuple[BudgetLine, ...]
    best: float
    worst: float
    repeats: int
    models: str


def budget_drawing(curves: BudgetCurves, name: str) -> Drawing:
    """The curves as a page of their own; bars are one standard deviation over the draws.

    A hollow marker says that not all types hold that many examples, and it is drawn from those
    that do.

    Args:
        curves: what was computed.
        name: of the study, for the title.
    """
    lines = []
    for n_types in sorted({point.cell.n_types for point in curves.points}):
        points = [point for point in curves.points if point.cell.n_types == n_types]
        line = BudgetLine(
            n_types,
            examples=tuple(point.cell.n_examples for point in points),
            means=tuple(point.mean for point in points),
            stds=tuple(point.std or 0.0 for point in points),
            regrets=tuple(point.regret for point in points),
            hollow=tuple(point.cell.n_eligible < curves.n_types for point in points),
        )
        lines.append(line)
    subtitle = (
        f"{curves.n_normal} normal and {curves.n_anomaly} anomalous test images; "
        f"{_OF[curves.models]}, {curves.n_models} of {curves.n_configurations} configurations; "
        f"mean and standard deviation over {curves.question.repeats} draws"
    )
    if curves.borrowed:
        subtitle += "; test images that a draw uses leave its figure"
    if any(any(line.hollow) for line in lines):
        subtitle += "\nhollow: drawn from the types that hold as many"
    return Drawing(
        _marks(tuple(lines), curves.best, curves.worst),
        _examples_axis(lines, "labelled anomalies that choose, in all"),
        Axis("test ROC AUC of the chosen configuration"),
        height=680,
        title=f"What labelled anomalies buy: {name}",
        subtitle=subtitle,
    )


def read_budget(report: Path) -> Budget | None:
    """The newest numbers in a study's `report/`, None where there are none.

    Raises:
        StudyError: they are damaged.
    """
    written = [report / name for name in _FILES if (report / name).is_file()]
    if not written:
        return None
    path = max(written, key=lambda one: one.stat().st_mtime)
    try:
        table = pd.read_csv(path)
        lines = tuple(
            BudgetLine(
                int(str(n_types)),
                tuple(rows["n_examples"].astype(int)),
                tuple(rows["mean"].astype(float)),
                tuple(rows["std"].fillna(0.0).astype(float)),
                tuple(rows["regret"].astype(float)),
                tuple(rows["drawn_from_types"] < table["drawn_from_types"].max()),
            )
            for n_types, rows in table.groupby("n_types")
        )
        first = table.iloc[0]
        best, worst = float(first["best"]), float(first["worst"])
        return Budget(lines, best, worst, int(first["repeats"]), str(first["models"]))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise StudyError(f"{path}: damaged ({error}); delete it or make it again") from error


def budget_block(budget: Budget | None) -> Figure | Text:
    """A line a number of types, or how to get them."""
    if budget is None:
        return Text(
            "How many labels would help: not asked yet; run hpsearch label-budget, then the report."
        )
    last = [f"{line.name} {line.means[-1]:.3f}" for line in budget.lines]
    few = any(any(line.hollow) for line in budget.lines)
    hollow = " Hollow: drawn from the types that hold as many." if few else ""
    return Figure(
        name="label-budget",
        caption="Test ROC AUC of the configuration that so many labelled anomalies choose: mean "
        f"and standard deviation over {budget.repeats} draws, models of: {budget.models}.{hollow}",
        alt=f"At the most labels: {', '.join(last)}; best configuration {budget.best:.3f}.",
        drawing=Drawing(
            _marks(budget.lines, budget.best, budget.worst),
            _examples_axis(budget.lines, "labelled anomalies, in all"),
            Axis("test ROC AUC"),
        ),
        numbers=Table(
            "What labelled anomalies buy",
            ("types", "labelled anomalies", "test ROC AUC", "standard deviation"),
            tuple(
                (str(line.n_types), str(n), f"{mean:.3f}", f"{std:.3f}")
                for line in budget.lines
                for n, mean, std in zip(line.examples, line.means, line.stds, strict=True)
            ),
        ),
    )


def _marks(lines: Sequence[BudgetLine], best: float, worst: float) -> list[Mark]:
    """A line a number of types, with bars of one standard deviation; best and worst are dashed."""
    marks: list[Mark] = []
    styles = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
    for place, (line, (colour, marker)) in enumerate(zip(lines, styles, strict=False)):
        # Beside each other, for bars of several lines would hide each other.
        aside = _ASIDE ** (place - (len(lines) - 1) / 2)
        figures = zip(line.examples, line.means, line.stds, line.regrets, strict=True)
        marks.append(
            Line(
                [count * aside for count in line.examples],
                line.means,
                line.name,
                colour,
                width=2.5,
                marker=marker,
                hollow=line.hollow,
                errors=line.stds,
                hover=[
                    f"{line.name}, {n} examples: {mean:.3f} ± {std:.3f}, {lost:.3f} below the best"
                    for n, mean, std, lost in figures
                ],
            )
        )
    for value, what in ((best, "best"), (worst, "worst")):
        marks.append(Rule(value, name=f"{what} of the grid {value:.3f}", dash="dash", width=1.5))
    return marks


def _examples_axis(lines: Sequence[BudgetLine], title: str) -> Axis:
    counts = sorted({count for line in lines for count in line.examples})
    return Axis(title, ticks={count: str(count) for count in counts}, is_log=True)
