"""Give a study and its trials what the dashboard shows of them: notes, pictures and figures."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle

import numpy as np
import optuna
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from hpsearch.errors import SpecError, StudyError, UserError
from hpsearch.evaluation.auroc import auroc
from hpsearch.evaluation.delong import FoldScores
from hpsearch.evaluation.selection import fold_scores
from hpsearch.evaluation.stored_scores import read_heads, read_scores
from hpsearch.io.processes import Progress, silent
from hpsearch.protocol.protocol import labelled_anomalies
from hpsearch.reports.budget_figure import budget_block, read_budget
from hpsearch.reports.dashboard.internals import Shelf, shown_figures
from hpsearch.reports.dashboard.notes import NoteBook, study_note, trial_note
from hpsearch.reports.dashboard.server import is_installed, open_storage
from hpsearch.reports.document import Figure
from hpsearch.reports.draw_matplotlib import png
from hpsearch.reports.draw_plotly import plotly_figure
from hpsearch.reports.drawing import COLOURS, DASHES, NEUTRAL, Axis, Drawing, Line, Mark
from hpsearch.reports.heat_table import heat, heat_axes, heat_drawing
from hpsearch.reports.search_figures import axis_importance
from hpsearch.reports.study_data import read_study_data
from hpsearch.storage.database import sole_writer_of
from hpsearch.storage.optuna_storage import trial_id
from hpsearch.storage.run_dir import AVERAGE, FinalName, RunDir
from hpsearch.storage.trials import trials_of
from hpsearch.study.result import FinalResult, read_final

HEAT, BUDGET = "value-by-axis", "label-budget"
"""Names under which the dashboard shows a study's figures."""

_ROC = "roc.png"
_NOTES = "notes.json"


def publish(folder: RunDir, *, progress: Progress = silent) -> list[str]:
    """Write what is not there yet, for the holder of the study's lock; a second time adds nothing.

    A finished study is not failed by a picture: what cannot be made is told.

    Args:
        folder: of the study, which need not be finished.
        progress: told how many pictures are drawn.

    Returns:
        What could not be made and why, a line each.
    """
    if not is_installed():
        return ["no notes for the dashboard: pip install 'hpsearch[dashboard]'"]
    storage = open_storage(folder.path, write=True)
    remarks: list[str] = []
    try:
        study = optuna.load_study(study_name=None, storage=storage)
        shelf = Shelf(folder.artifacts, study)
        writers: tuple[Callable[[], None], ...] = (
            partial(_write_notes, folder, study, remarks),
            partial(_draw_curves, folder, study, shelf, progress),
            partial(_show_examples, folder, study, shelf),
            partial(_show_figures, folder, study),
        )
        for write in writers:
            try:
                write()
            except UserError as error:
                remarks.append(str(error))
    finally:
        storage.remove_session()
        storage.engine.dispose()
    return remarks


def publish_unless_running(folder: RunDir, *, progress: Progress = silent) -> list[str]:
    """Publish, where no other process is writing the study and this one may.

    Returns:
        What could not be made and why, a line each.
    """
    try:
        with sole_writer_of(folder.path):
            return publish(folder, progress=progress)
    except StudyError as error:
        return [f"no new notes and pictures meanwhile: {error}"]
    except PermissionError as error:
        return [f"no new notes and pictures: {error.filename} may only be read"]


def _write_notes(folder: RunDir, study: optuna.Study, remarks: list[str]) -> None:
    """Write the notes; a final result that cannot be read is added to the remarks."""
    finals: dict[FinalName, FinalResult] = {}
    names: list[FinalName] = [int(path.name) for path in sorted(folder.final.glob("[0-9]*"))]
    for name in (*names, AVERAGE):
        try:
            if (result := read_final(folder, name)) is not None:
                finals[name] = result
        except StudyError as error:
            remarks.append(str(error))
    spec, by_state = folder.spec(), trials_of(study)
    notes: dict[int | None, str] = {
        trial_id(trial): trial_note(
            trial, n_folds=spec.search.n_folds, final=finals.get(trial.number)
        )
        for trial in by_state.ours
        if trial.state.is_finished()
    }
    notes[None] = study_note(
        spec,
        n_complete=len(by_state.completed),
        final=finals.get(folder.winner()) if folder.winner_file.exists() else None,
        warnings=folder.environment().get("warnings", []),
    )
    NoteBook(study, folder.artifacts / _NOTES).write(notes)


def _draw_curves(folder: RunDir, study: optuna.Study, shelf: Shelf, progress: Progress) -> None:
    completed = trials_of(study).completed
    due = {trial.number: trial for trial in completed if not shelf.holds(trial, _ROC)}
    if not due:
        return
    for done, (number, curves) in enumerate(trial_curves(folder, due, progress=progress).items()):
        shelf.put(due[number], _ROC, roc_picture(curves, f"trial {number}"))
        progress("drawing ROC curves", done + 1, len(due))


def _show_examples(folder: RunDir, study: optuna.Study, shelf: Shelf) -> None:
    for trial in trials_of(study).completed:
        pictures = folder.examples(trial.number).glob("*.png")
        # An image before what lies over it.
        for picture in sorted(pictures, key=lambda path: path.stem):
            shelf.put(trial, picture.name, picture.read_bytes())


def _show_figures(folder: RunDir, study: optuna.Study) -> None:
    """Show a finished study's figures, each in place of an earlier one of its name."""
    from optuna_dashboard import save_plotly_graph_object

    if not folder.winner_file.exists():
        return
    drawings: dict[str, Drawing] = {}
    data = read_study_data(folder)
    if data.varied:
        importance = axis_importance(data)
        ranking = tuple(importance.shares) if importance else ()
        drawings[HEAT] = heat_drawing(heat(data, *heat_axes(data.varied, ranking)))
    block = budget_block(read_budget(folder.report))
    if isinstance(block, Figure):
        drawings[BUDGET] = block.drawing
    shown = shown_figures(study)
    for name, drawing in drawings.items():
        figure = plotly_figure(drawing)
        if shown.get(name) != figure.to_json():
            save_plotly_graph_object(study, figure, graph_object_id=name)


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
    """ROC curves of the folds of the completed trials of these numbers, from stored scores.

    They are what a trial's validation value rests on.

    Raises:
        UserError: a result is gone or damaged, or the fold files are gone.
    """
    stored = read_scores(folder, progress=progress)
    heads = None if stored.trained_on_labels else read_heads(folder, progress=progress)
    labelled = labelled_anomalies(folder.spec(), stored.table)
    curves: dict[int, tuple[FoldCurve, ...]] = {}
    for one in (stored,) if heads is None else (stored, heads):
        scores = fold_scores(one, labelled)
        curves |= {
            trial.number: tuple(_curve(scores, row, fold) for fold in range(len(scores.normals)))
            for row, trial in enumerate(one.trials)
            if trial.number in trials
        }
    return curves


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


def roc_picture(curves: Sequence[FoldCurve], title: str) -> bytes:
    """The curves of a trial's folds as a PNG.

    Raises:
        SpecError: matplotlib is not installed.
    """
    marks: list[Mark] = [Line([0, 1], [0, 1], "", NEUTRAL, width=1)]
    styles = zip(cycle(COLOURS), cycle(DASHES), strict=False)
    for fold, (curve, (colour, dash)) in enumerate(zip(curves, styles, strict=False)):
        name = (
            f"fold {fold}: {curve.auroc:.3f} ({curve.n_normal} normal, {curve.n_anomaly} anomalous)"
        )
        marks.append(Line(curve.false_positives, curve.true_positives, name, colour, dash))
    limits = (-0.01, 1.01)
    drawing = Drawing(
        marks,
        Axis("normal images flagged", limits=limits),
        Axis("labelled anomalies flagged", limits=limits),
        height=600,
        title=title,
        subtitle="validation ROC AUC",
        is_square=True,
    )
    try:
        return png(drawing)
    except ImportError as error:
        raise SpecError(
            "pictures: matplotlib is not installed; pip install 'hpsearch[dashboard]'"
        ) from error
