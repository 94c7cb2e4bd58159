"""The figures of a study that the dashboard shows; what they say is computed by the reports."""

from collections.abc import Mapping

import optuna
import plotly.graph_objects as go

from hpsearch.reports.document import Figure
from hpsearch.reports.heat_table import Heat, heat, heat_axes
from hpsearch.reports.importance import axis_importance
from hpsearch.reports.label_budget import budget_block, read_budget
from hpsearch.reports.look import lay_out, shown
from hpsearch.reports.study_data import read_study_data, report_folder
from hpsearch.study_dir import StudyDir

HEAT, BUDGET = "value-by-axis", "label-budget"


def study_figures(folder: StudyDir) -> dict[str, go.Figure]:
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
    block = budget_block(read_budget(report_folder(folder)))
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
