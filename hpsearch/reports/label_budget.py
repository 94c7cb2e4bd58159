"""The label-budget figure (the paper's Fig. 4), from the numbers that another command wrote."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from hpsearch.errors import StudyError
from hpsearch.reports.budget_figure import Budget, Line, draw_lines
from hpsearch.reports.document import Figure, Table, Text
from hpsearch.reports.look import COLOURS, DASHES, GREY, lay_out, png_dash

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FILES = ("label_budget.csv", "fig4.csv")


def read_budget(report: Path) -> Budget | None:
    """The newest numbers in a study's `report/`, None where there are none.

    Raises:
        StudyError: they are damaged.
    """
    there = [report / name for name in _FILES if (report / name).is_file()]
    if not there:
        return None
    path = max(there, key=lambda one: one.stat().st_mtime)
    try:
        table = pd.read_csv(path)
        lines = tuple(
            Line(
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
        plotly=_draw(budget),
        draw=lambda axes: _draw_png(budget, axes),
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


def _draw(budget: Budget) -> go.Figure:
    return lay_out(draw_lines(budget), x="labelled anomalies, in all", y="test ROC AUC")


def _draw_png(budget: Budget, axes: "Axes") -> None:
    for line, colour, dash in zip(budget.lines, COLOURS, DASHES, strict=False):
        axes.errorbar(
            line.examples,
            line.means,
            line.stds,
            color=colour,
            ls=png_dash(dash),
            marker="o",
            capsize=3,
            label=line.name,
        )
    for value, what in ((budget.best, "best"), (budget.worst, "worst")):
        axes.axhline(value, color=GREY, ls="--", lw=1, label=f"{what} {value:.3f}")
    axes.set(xscale="log", xlabel="labelled anomalies, in all", ylabel="test ROC AUC")
    counts = sorted({count for line in budget.lines for count in line.examples})
    axes.set_xticks(counts, [str(count) for count in counts], minor=False)
    axes.set_xticks([], minor=True)
    axes.legend()
