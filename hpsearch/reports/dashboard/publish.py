"""Give a study's trials what the dashboard shows of them: notes, pictures and figures."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from hpsearch.errors import StudyError, UserError
from hpsearch.io.progress import Progress, silent
from hpsearch.reports.dashboard.artifacts import Shelf
from hpsearch.reports.dashboard.figures import (
    roc_picture,
    save_figures,
    study_figures,
    trial_curves,
)
from hpsearch.reports.dashboard.notes import NoteBook, study_note, trial_note
from hpsearch.reports.dashboard.server import is_installed, open_storage
from hpsearch.storage.database import sole_writer_of
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import trials_of
from hpsearch.study.result import FinalResult, read_final

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
    try:
        study = optuna.load_study(study_name=None, storage=storage)
        finals, remarks = _finals(folder)
        writers: tuple[Callable[[], None], ...] = (
            partial(_write_notes, folder, study, finals),
            partial(_draw_curves, folder, study, progress),
            partial(_show_examples, folder, study),
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


def _write_notes(folder: RunDir, study: optuna.Study, finals: Mapping[int, FinalResult]) -> None:
    spec = folder.spec()
    ended = [trial for trial in trials_of(study).ours if trial.state.is_finished()]
    notes: dict[int | None, str] = {
        trial._trial_id: trial_note(
            trial, n_folds=spec.search.n_folds, final=finals.get(trial.number)
        )
        for trial in ended
    }
    notes[None] = study_note(
        spec,
        n_complete=len(_complete(study)),
        final=finals.get(folder.winner()) if folder.winner_file.exists() else None,
        warnings=folder.environment().get("warnings", []),
    )
    NoteBook(study, folder.artifacts / _NOTES).write(notes)


def _draw_curves(folder: RunDir, study: optuna.Study, progress: Progress) -> None:
    shelf = _shelf(folder, study)
    due = {trial.number: trial for trial in _complete(study) if not shelf.holds(trial, _ROC)}
    if not due:
        return
    curves = trial_curves(folder, due, progress=progress)
    for done, (number, of_trial) in enumerate(curves.items(), start=1):
        shelf.put(due[number], _ROC, roc_picture(of_trial, f"trial {number}"))
        progress("drawing ROC curves", done, len(curves))


def _show_examples(folder: RunDir, study: optuna.Study) -> None:
    shelf = _shelf(folder, study)
    for trial in _complete(study):
        for picture in _examples(folder, trial):
            shelf.put(trial, picture.name, picture.read_bytes())


def _examples(folder: RunDir, trial: FrozenTrial) -> Iterable[Path]:
    pictures = folder.examples(trial.number).glob("*.png")
    return sorted(pictures, key=lambda path: path.stem)  # an image before what lies over it


def _show_figures(folder: RunDir, study: optuna.Study) -> None:
    if folder.winner_file.exists():
        save_figures(study, study_figures(folder))


def _finals(folder: RunDir) -> tuple[dict[int, FinalResult], list[str]]:
    """The final results by trial, and a line on each that cannot be read."""
    finals: dict[int, FinalResult] = {}
    remarks: list[str] = []
    for path in sorted(folder.final.glob("[0-9]*")):
        try:
            if (result := read_final(folder, int(path.name))) is not None:
                finals[result.trial] = result
        except StudyError as error:
            remarks.append(str(error))
    return finals, remarks


def _complete(study: optuna.Study) -> tuple[FrozenTrial, ...]:
    return trials_of(study).completed


def _shelf(folder: RunDir, study: optuna.Study) -> Shelf:
    return Shelf(folder.artifacts, study._storage, study._study_id)
