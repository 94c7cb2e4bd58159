"""Parallel coordinates: each trial as a line through its choices to its value."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hpsearch.reports.document import Figure, Table, Text
from hpsearch.reports.look import COLOURS, GREY, lay_out, shown
from hpsearch.reports.study_data import CRITERION_NAMES, StudyData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_APART = 0.05  # lines through one choice, in heights of the figure
# name, colour, width in px: told apart by the width too
_STYLES = (
    ("other trials", GREY, 1.0),
    ("best quarter", COLOURS[0], 2.0),
    ("best", COLOURS[1], 4.0),
)


class ParallelLines(NamedTuple):
    """Lines of C trials over A axes.

    Attributes:
        axes: names `(A,)`.
        choices: of each axis, its choices from the lowest place to the highest.
        places: `(C, A + 1)`, from 0 to 1; the last is that of the value.
        values: `(C,)`.
        rank: `(C,)`, an index of 0 to 2: other, best quarter, best.
        value_name: what a value is.
    """

    axes: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    places: NDArray[np.float64]
    values: NDArray[np.float64]
    rank: NDArray[np.intp]
    value_name: str


def parallel_lines(data: StudyData) -> ParallelLines:
    """The lines of a study's completed trials over the axes that vary."""
    values = np.array([trial.value for trial in data.trials], dtype=np.float64)
    order = np.argsort(np.argsort(-values, kind="stable"))
    shift = _APART * (0.5 - order / max(1, len(values) - 1))
    choices, columns = [], []
    for axis in data.varied:
        there = sorted({trial.params[axis] for trial in data.trials}, key=_by_number)
        place = np.linspace(0, 1, len(there)) if len(there) > 1 else np.array([0.5])
        columns.append(place[[there.index(trial.params[axis]) for trial in data.trials]] + shift)
        choices.append(tuple(map(str, there)))
    spread = float(np.ptp(values)) or 1.0
    columns.append((values - values.min()) / spread)
    rank = np.where(order == 0, 2, np.where(order < len(values) / 4, 1, 0))
    return ParallelLines(
        tuple(data.varied),
        tuple(choices),
        np.stack(columns, axis=1),
        values,
        rank,
        CRITERION_NAMES[data.criterion],
    )


def parallel_block(lines: ParallelLines) -> Figure | Text:
    """The lines, or why there are none."""
    if not lines.axes:
        return Text("There is one configuration, so nothing to compare.")
    best = lines.places[int(lines.rank.argmax())]
    named = ", ".join(
        f"{axis} {choices[int(np.rint(place * (len(choices) - 1)))]}"
        for axis, choices, place in zip(lines.axes, lines.choices, best[:-1], strict=True)
    )
    return Figure(
        name="parallel",
        caption="Each trial as a line through its choices to its value.",
        alt=f"The best trial goes through {named}.",
        plotly=_draw(lines),
        draw=lambda axes: _draw_png(lines, axes),
        numbers=Table(
            "Mean value of the trials at each choice",
            ("axis", "choice", "trials", "mean value", "highest value"),
            tuple(_choice_rows(lines)),
        ),
    )


def _choice_rows(lines: ParallelLines) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for column, (axis, choices) in enumerate(zip(lines.axes, lines.choices, strict=True)):
        nearest = np.rint(lines.places[:, column] * (len(choices) - 1)).astype(int)
        for index, choice in enumerate(choices):
            values = lines.values[nearest == index] if len(choices) > 1 else lines.values
            rows.append(
                (axis, choice, str(len(values)), f"{values.mean():.3f}", f"{values.max():.3f}")
            )
    return rows


def _draw(lines: ParallelLines) -> go.Figure:
    figure = go.Figure()
    places = list(range(len(lines.axes) + 1))
    for rank, (name, colour, width) in enumerate(_STYLES):
        those = lines.places[lines.rank == rank]
        gap = np.full((len(those), 1), np.nan)
        figure.add_scatter(
            x=[*places, None] * len(those),
            y=np.hstack([those, gap]).ravel(),
            mode="lines",
            line={"color": colour, "width": width},
            name=name,
            hoverinfo="skip",
        )
    for column, labels in enumerate(_labels(lines)):
        figure.add_vline(column, line={"color": GREY, "width": 1})
        for place, label in labels:
            figure.add_annotation(
                x=column,
                y=place,
                text=f"<b>{shown(label)}</b>",
                showarrow=False,
                xanchor="left",
                xshift=6,  # px
            )
    figure = lay_out(figure, x="", y="")
    ticks = [shown(name) for name in (*lines.axes, lines.value_name)]
    figure.update_xaxes(
        tickvals=places, ticktext=ticks, showgrid=False, range=[-0.1, len(lines.axes) + 0.35]
    )
    figure.update_yaxes(visible=False, range=[-0.08, 1.08])
    return figure


def _labels(lines: ParallelLines) -> list[list[tuple[float, str]]]:
    """Of each axis and of the value, what stands where."""
    ends = [(0.0, f"{lines.values.min():.3f}"), (1.0, f"{lines.values.max():.3f}")]
    found = [
        list(zip(np.linspace(0, 1, len(each)) if len(each) > 1 else [0.5], each, strict=True))
        for each in lines.choices
    ]
    return [*found, ends]


def _draw_png(lines: ParallelLines, axes: "Axes") -> None:
    places = list(range(len(lines.axes) + 1))
    for rank, (name, colour, width) in enumerate(_STYLES):
        for number, those in enumerate(lines.places[lines.rank == rank]):
            label = name if number == 0 else None
            axes.plot(places, those, color=colour, linewidth=width, label=label)
    for column, labels in enumerate(_labels(lines)):
        axes.axvline(column, color=GREY, linewidth=1)
        for place, text in labels:
            axes.text(column, place, f" {text}", parse_math=False, weight="bold")
    axes.set_xticks(places, [*lines.axes, lines.value_name], parse_math=False)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(lines.axes) + 0.35)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _by_number(choice: object) -> tuple[bool, float, str]:
    number = isinstance(choice, (int, float))
    return (not number, float(choice) if isinstance(choice, (int, float)) else 0.0, str(choice))
