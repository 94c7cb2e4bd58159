"""The search over time: the value of each trial and the best so far."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hpsearch.reports.document import Figure, Table
from hpsearch.reports.look import COLOURS, lay_out, shown
from hpsearch.reports.study_data import CRITERION_NAMES, StudyData
from hpsearch.storage.trials import trials_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEW = 12  # trials that each get a tick of their own


class History(NamedTuple):
    """Completed trials by number.

    Attributes:
        numbers: `(C,)`.
        values: `(C,)`, by the study's criterion.
        best: `(C,)`, the highest so far.
        configurations: `(C,)`.
        states: how many trials count as what.
        value_name: what a value is.
    """

    numbers: tuple[int, ...]
    values: NDArray[np.float64]
    best: NDArray[np.float64]
    configurations: tuple[str, ...]
    states: dict[str, int]
    value_name: str


def search_history(data: StudyData) -> History:
    """The history of a study."""
    values = np.array([trial.value for trial in data.trials], dtype=np.float64)
    return History(
        numbers=tuple(trial.number for trial in data.trials),
        values=values,
        best=np.maximum.accumulate(values),
        configurations=tuple(data.configuration(trial) for trial in data.trials),
        states={state: count for state, count in trials_of(data.study).counts.items() if count},
        value_name=CRITERION_NAMES[data.criterion],
    )


def history_figure(history: History) -> Figure:
    """A point a trial, and a line for the best so far."""
    top = int(history.values.argmax())
    states = ", ".join(f"{count} {state}" for state, count in sorted(history.states.items()))
    rows = zip(history.numbers, history.values, history.configurations, strict=True)
    return Figure(
        name="history",
        caption=f"Value of each trial and the best so far. Trials: {states}.",
        alt=f"{len(history.values)} trials; the highest value, {history.values[top]:.3f}, is that "
        f"of trial {history.numbers[top]}.",
        plotly=_draw(history),
        draw=lambda axes: _draw_png(history, axes),
        numbers=Table(
            "Value of each completed trial",
            ("trial", history.value_name, "configuration"),
            tuple((str(number), f"{value:.4f}", words) for number, value, words in rows),
        ),
    )


def _draw(history: History) -> go.Figure:
    figure = go.Figure()
    figure.add_scatter(
        x=history.numbers,
        y=history.best,
        mode="lines",
        line={"shape": "hv", "color": COLOURS[1], "width": 2, "dash": "dash"},
        name="best so far",
    )
    figure.add_scatter(
        x=history.numbers,
        y=history.values,
        mode="markers",
        marker={"color": COLOURS[0], "size": 9},
        name="trial",
        text=[shown(words) for words in history.configurations],
        hovertemplate="trial %{x}: %{y:.3f}<br>%{text}<extra></extra>",
    )
    lay_out(figure, x="trial", y=history.value_name)
    # Between the numbers of few trials plotly would write halves.
    return figure.update_xaxes(dtick=1 if max(history.numbers) < _FEW else None)


def _draw_png(history: History, axes: "Axes") -> None:
    axes.step(
        history.numbers, history.best, where="post", ls="--", color=COLOURS[1], label="best so far"
    )
    axes.plot(history.numbers, history.values, "o", color=COLOURS[0], label="trial")
    axes.set(xlabel="trial", ylabel=history.value_name)
    axes.locator_params(axis="x", integer=True)
    axes.legend()
