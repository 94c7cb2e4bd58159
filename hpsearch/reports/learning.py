"""Learning curves of the winner: its folds, and its trainings on all normals."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hpsearch.reports.document import Figure, Table, Text
from hpsearch.reports.look import COLOURS, DASHES, lay_out, png_dash
from hpsearch.reports.study_data import StudyData
from hpsearch.storage.results import FoldResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LearningCurve(NamedTuple):
    """Losses of a training at its validations.

    Attributes:
        name: of the training.
        steps: `(V,)`.
        losses: `(V,)`, of normals that were held out; of the training batches where none were.
        held_out: which of the two.
        best_step: whose weights were kept.
    """

    name: str
    steps: NDArray[np.float64]
    losses: NDArray[np.float64]
    held_out: bool
    best_step: int


def learning_curves(data: StudyData) -> tuple[LearningCurve, ...]:
    """A curve a training that took steps."""
    named = [(f"fold {number}", run) for number, run in enumerate(data.folds)]
    named += [(f"final {number}", run) for number, run in enumerate(data.finals, start=1)]
    return tuple(_curve(name, run) for name, run in named if len(run.curve))


def learning_block(curves: tuple[LearningCurve, ...]) -> Figure | Text:
    """The curves, or why there are none."""
    if not curves:
        return Text("Learning curves: there are none, for this detector takes no gradient steps.")
    last = ", ".join(f"{one.name} {one.losses[-1]:.3g}" for one in curves)
    return Figure(
        name="learning",
        caption="Loss of the winner's trainings. Solid lines with circles: normals held out of a "
        "fold; the others: training batches, of trainings that hold nothing out.",
        alt=f"Loss at the end: {last}.",
        plotly=_draw(curves),
        draw=lambda axes: _draw_png(curves, axes),
        numbers=Table(
            "Trainings of the winner",
            ("training", "loss of", "validations", "first loss", "lowest loss", "step kept"),
            tuple(
                (
                    one.name,
                    "held-out normals" if one.held_out else "training batches",
                    str(len(one.steps)),
                    f"{one.losses[0]:.4g}",
                    f"{one.losses.min():.4g}",
                    str(one.best_step),
                )
                for one in curves
            ),
        ),
    )


def _curve(name: str, run: FoldResult) -> LearningCurve:
    held_out = run.curve["held_out_loss"].to_numpy(dtype=np.float64)
    there = np.isfinite(held_out)
    losses = held_out if there.any() else run.curve["train_loss"].to_numpy(dtype=np.float64)
    kept = np.isfinite(losses)
    steps = run.curve["step"].to_numpy(dtype=np.float64)
    return LearningCurve(name, steps[kept], losses[kept], bool(there.any()), run.best_step)


def _style(number: int, curve: LearningCurve) -> tuple[str, str]:
    dash = "solid" if curve.held_out else DASHES[1 + number % (len(DASHES) - 1)]
    return COLOURS[number % len(COLOURS)], dash


def _draw(curves: tuple[LearningCurve, ...]) -> go.Figure:
    figure = go.Figure()
    for number, one in enumerate(curves):
        colour, dash = _style(number, one)
        figure.add_scatter(
            x=one.steps,
            y=one.losses,
            mode="lines+markers" if one.held_out else "lines",
            line={"color": colour, "dash": dash, "width": 2},
            name=one.name,
            hovertemplate="step %{x}: %{y:.4g}",
        )
    return lay_out(figure, x="step", y="loss")


def _draw_png(curves: tuple[LearningCurve, ...], axes: "Axes") -> None:
    for number, one in enumerate(curves):
        colour, dash = _style(number, one)
        mark = "o" if one.held_out else None
        axes.plot(
            one.steps, one.losses, color=colour, ls=png_dash(dash), marker=mark, label=one.name
        )
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
