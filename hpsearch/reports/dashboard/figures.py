"""The figures of a study that the dashboard shows; what they say is computed by the reports.

ROC curves of a trial's folds: what its validation value rests on.

ROC curves as a PNG.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle

import numpy as np
import optuna
import plotly.graph_objects as go
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from hpsearch.errors import SpecError
from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.delong import FoldScores
from hpsearch.evaluation.selection import fold_scores
from hpsearch.evaluation.stored_scores import read_scores
from hpsearch.io.progress import Progress, silent
from hpsearch.protocol.protocol import labelled_anomalies
from hpsearch.reports.document import Figure
from hpsearch.reports.heat_table import Heat, heat, heat_axes
from hpsearch.reports.importance import axis_importance
from hpsearch.reports.label_budget import budget_block, read_budget
from hpsearch.reports.look import lay_out, shown
from hpsearch.reports.study_data import read_study_data
from hpsearch.storage.run_dir import RunDir

HEAT, BUDGET = "value-by-axis", "label-budget"


def study_figures(folder: RunDir) -> dict[str, go.Figure]:
    """Figures by the name under which they are shown, as far as a finished study has them.

    Raises:
        UserError: a file of the study is gone or damaged.
    """
    figures: dict[str, go.Figure] = {}
    data = read_study_data(folder)
    if data.varied:
        importance = axis_importance(data)
        ranking = tuple(importance.shares) if importance else ()
        figures[HEAT] = heat_figure(heat(data, *heat_axes(data.varied, ranking)))
    block = budget_block(read_budget(folder.report))
    if isinstance(block, Figure):
        figures[BUDGET] = block.plotly
    return figures


def heat_figure(found: Heat) -> go.Figure:
    """Values by row and column, each number written on its shade."""
    cells = [[found.cells.get((row, column)) for column in found.columns] for row in found.rows]
    figure = go.Figure(
        go.Heatmap(
            x=[shown(f"{found.column_axis}={column}") for column in found.columns],
            y=[shown(row or "all") for row in found.rows],
            z=[[cell and cell.value for cell in row] for row in cells],
            text=[
                [cell and f"{cell.value:.3f}<br>{cell.low:.3f} – {cell.high:.3f}" for cell in row]
                for row in cells
            ],
            texttemplate="%{text}",
            hoverinfo="skip",
            colorscale="Cividis",  # even in lightness, and for colour-blind readers too
            colorbar={"title": {"text": shown(found.value_name), "side": "right"}},
        )
    )
    return lay_out(figure, x="", y="").update_yaxes(autorange="reversed", type="category")


def save_figures(study: optuna.Study, figures: Mapping[str, go.Figure]) -> None:
    """Show the figures with the study, each in place of an earlier one of its name."""
    from optuna_dashboard import save_plotly_graph_object

    there = shown_figures(study)
    for name, figure in figures.items():
        if there.get(name) != figure.to_json():
            save_plotly_graph_object(study, figure, graph_object_id=name)


def shown_figures(study: optuna.Study) -> dict[str, str]:
    """The figures that the dashboard shows with a study, as JSON by name."""
    from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

    attributes = study._storage.get_study_system_attrs(study._study_id)
    figures: dict[str, str] = get_plotly_graph_objects(attributes)
    return figures


@dataclass(frozen=True, eq=False)
class FoldCurve:
    """One fold's normals against the labelled anomalies that it scores.

    Attributes:
        false_positives, true_positives: rates `(P,)`, ascending from 0 to 1.
        auroc: area under the curve.
        n_normal, n_anomaly: images.
    """

    false_positives: NDArray[np.float64]
    true_positives: NDArray[np.float64]
    auroc: float
    n_normal: int
    n_anomaly: int


def trial_curves(
    folder: RunDir, trials: Collection[int], *, progress: Progress = silent
) -> dict[int, tuple[FoldCurve, ...]]:
    """A curve a fold of the completed trials of these numbers, from stored scores.

    Raises:
        UserError: a result is gone or damaged, or the fold files are gone.
    """
    stored = read_scores(folder, progress=progress)
    scores = fold_scores(stored, labelled_anomalies(folder.spec(), stored.table))
    return {
        trial.number: tuple(_curve(scores, row, fold) for fold in range(len(scores.normals)))
        for row, trial in enumerate(stored.trials)
        if trial.number in trials
    }


def _curve(scores: FoldScores, row: int, fold: int) -> FoldCurve:
    normals = scores.normals[fold][row]
    anomalies = scores.anomalies[row, fold, scores.counts[fold]]
    labels = np.repeat([0, 1], [len(normals), len(anomalies)])
    false_positives, true_positives, _ = roc_curve(labels, np.concatenate([normals, anomalies]))
    return FoldCurve(
        false_positives,
        true_positives,
        auroc(normals, anomalies),
        len(normals),
        len(anomalies),
    )


# Okabe & Ito's palette, which colour-blind readers can tell apart, with a dash pattern each.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES = ("-", "--", "-.", ":")
_INCHES, _DOTS_PER_INCH = 5.0, 100


def roc_picture(curves: Sequence[FoldCurve], title: str) -> bytes:
    """Draw the curves of a trial's folds.

    Raises:
        SpecError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SpecError(
            "pictures: matplotlib is not installed; pip install 'hpsearch[dashboard]'"
        ) from error

    figure = Figure(figsize=(_INCHES, _INCHES), dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for fold, (curve, colour, dash) in enumerate(
        zip(curves, cycle(_COLOURS), cycle(_DASHES), strict=False)
    ):
        axes.plot(
            curve.false_positives,
            curve.true_positives,
            color=colour,
            linestyle=dash,
            linewidth=2,
            label=f"fold {fold}: {curve.auroc:.3f} "
            f"({curve.n_normal} normal, {curve.n_anomaly} anomalous)",
        )
    axes.set(
        xlabel="normal images flagged",
        ylabel="labelled anomalies flagged",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.legend(loc="lower right", fontsize=9, title="validation ROC AUC")
    png = BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
