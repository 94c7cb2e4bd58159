"""Which axes of the search space decide the value."""

import warnings
from typing import TYPE_CHECKING, NamedTuple

import plotly.graph_objects as go
from optuna.exceptions import ExperimentalWarning
from optuna.importance import get_param_importances

from hpsearch.reports.document import Figure, Table, Text
from hpsearch.reports.look import COLOURS, lay_out, shown
from hpsearch.reports.study_data import StudyData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEWEST = 4  # trials: of fewer, the best tenth against the rest says nothing
_FEW = 20


class Importance(NamedTuple):
    """Shares of the axes that vary, which add up to 1, highest first; of how many trials."""

    shares: dict[str, float]
    n_trials: int


def axis_importance(data: StudyData) -> Importance | None:
    """PED-ANOVA (arXiv 2304.10255) of the axes that vary; None where trials cannot tell."""
    values = {trial.value for trial in data.trials}
    axes = [axis for axis in data.varied if len({trial.params[axis] for trial in data.trials}) > 1]
    if len(data.trials) < _FEWEST or len(values) < 2 or not axes:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        shares = get_param_importances(data.study, params=axes)
    return Importance(shares, len(data.trials)) if sum(shares.values()) > 0 else None


def importance_block(importance: Importance | None) -> Figure | Text:
    """A bar an axis, or why there is none."""
    if importance is None:
        return Text(
            "Importance of the axes: not told, for there are too few different trials or axes."
        )
    few = importance.n_trials < _FEW
    ranking = ", ".join(f"{axis} {share:.2f}" for axis, share in importance.shares.items())
    return Figure(
        name="importance",
        caption=f"Importance of each axis for the value (PED-ANOVA), of {importance.n_trials} "
        f"trials{'; so few are a hint at best' if few else ''}.",
        alt=f"From the most important axis down: {ranking}.",
        plotly=_draw(importance),
        draw=lambda axes: _draw_png(importance, axes),
        numbers=Table(
            "Importance of each axis",
            ("axis", "share"),
            tuple((axis, f"{share:.3f}") for axis, share in importance.shares.items()),
        ),
    )


def _draw(importance: Importance) -> go.Figure:
    figure = go.Figure()
    figure.add_bar(
        x=list(importance.shares.values()),
        y=[shown(axis) for axis in importance.shares],
        orientation="h",
        marker={"color": COLOURS[0]},
        texttemplate="%{x:.2f}",
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    height = 120 + 36 * len(importance.shares)
    figure = lay_out(figure, x="share of importance", y="", height=height)
    figure.update_yaxes(autorange="reversed")
    return figure


def _draw_png(importance: Importance, axes: "Axes") -> None:
    bars = axes.barh(list(importance.shares), list(importance.shares.values()), color=COLOURS[0])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.set(xlabel="share of importance")
