"""Run or resume the studies of a table one after the other, and collect what they found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict

from hpsearch.engine import plan_workers
from hpsearch.errors import DataError, HpsearchError
from hpsearch.listener import Listener, SilentListener
from hpsearch.prepared import Prepared, prepare_study
from hpsearch.results import read_result
from hpsearch.space import PREPROCESSING
from hpsearch.spec import Criterion, StudySpec
from hpsearch.storage import load_study
from hpsearch.study import StudyRun, run_study
from hpsearch.study_dir import StudyDir
from hpsearch.tables.answer import Answer
from hpsearch.tables.fixed import train_fixed
from hpsearch.tables.pixel_notes import pixel_notes
from hpsearch.tables.study import TableStudy
from hpsearch.trials import trials_of


class _Where(TypedDict):
    """The arguments of `run_study` that are those of all studies."""

    runs: Path
    cache_dir: Path
    device: str
    workers: int | None


@dataclass(frozen=True)
class Outcome:
    """How a study of a table ended.

    Attributes:
        study: what was asked.
        folder: its run directory, which is there once the study was begun.
        answers: by criterion; empty where the study has none.
        absent: why its images could not be used, where that is so; it was not begun.
        failure: why it was begun and has no answer.
        notes: what its data set says of itself.
    """

    study: TableStudy
    folder: StudyDir
    answers: Mapping[Criterion, Answer]
    absent: str | None = None
    failure: str | None = None
    notes: tuple[str, ...] = ()

    def tasks(self, criterion: Criterion) -> list[Path]:
        """The directories of the final trainings that the figures of an answer come from."""
        answer = self.answers.get(criterion)
        return [self.folder.tasks / digest for digest in (answer.tasks if answer else ())]


def run_studies(
    studies: Sequence[TableStudy],
    *,
    runs: Path,
    cache_dir: Path,
    listener: Listener,
    device: str = "auto",
    workers: int | None = None,
) -> list[Outcome]:
    """Run or resume the studies; one whose images are not there, or that fails, says why.

    Args:
        studies: in the order of the table.
        runs: folder of run directories.
        cache_dir: folder of what can be computed again.
        listener: told of progress.
        device, workers: as of `hpsearch.study.run_study`.

    Returns:
        An outcome a study, in the same order.

    Raises:
        DataError: no study has its images.
        UserError: another mistake that the user can mend, before the first study is begun.
    """
    plan = plan_workers(device, workers)
    prepare = partial(
        prepare_study,
        cache_dir=cache_dir,
        workers=plan.count * plan.threads,
        listener=_ProgressAlone(listener),
    )
    checked = [_checked(study, runs, prepare) for study in studies]
    if all(outcome.absent for outcome in checked):
        raise DataError(checked[0].absent)
    where: _Where = {"runs": runs, "cache_dir": cache_dir, "device": device, "workers": workers}
    return [outcome if outcome.absent else _run(outcome, where, listener) for outcome in checked]


class _ProgressAlone(SilentListener):
    """Hands on progress alone: what else is told here is told again when the study runs."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def progress(self, what: str, done: int, total: int) -> None:
        """As the listener shows it."""
        self._listener.progress(what, done, total)


def _checked(study: TableStudy, runs: Path, prepare: Callable[..., Prepared]) -> Outcome:
    """Everything but the running: the outcome of a study that has not been begun."""
    outcome = Outcome(study, StudyDir(runs / study.spec.study_name), {})
    try:
        prepared = prepare(study.spec, folder=outcome.folder)
    except DataError as error:
        return replace(outcome, absent=str(error))
    return replace(outcome, notes=(*study.notes, *pixel_notes(prepared.dataset)))


def _run(outcome: Outcome, where: _Where, listener: Listener) -> Outcome:
    study = outcome.study
    listener.note(study.title)
    try:
        if study.searched:
            answers = _searched(study, where, listener)
        else:
            answer = train_fixed(study.spec, listener=listener, **where)
            answers = dict.fromkeys(study.criteria, answer)
    except HpsearchError as error:
        return replace(outcome, failure=str(error))
    return replace(outcome, answers=answers)


def _searched(study: TableStudy, where: _Where, listener: Listener) -> dict[Criterion, Answer]:
    ran = run_study(study.spec, listener=listener, criteria=study.criteria, **where)
    return {criterion: _answer(ran, study.spec, criterion) for criterion in study.criteria}


def _answer(ran: StudyRun, spec: StudySpec, criterion: Criterion) -> Answer:
    result, folder = ran.results[criterion], ran.folder
    searched = {
        axis: result.params[axis]
        for section in (spec.detector, PREPROCESSING)
        for axis, choices in spec.space.get(section, {}).items()
        if len(choices) > 1
    }
    found = (read_result(folder.tasks, digest) for digest in result.tasks)
    finals = [final for final in found if final]
    trials = trials_of(load_study(folder.path)).ended
    searching = sum(trial.user_attrs.get("seconds", 0.0) for trial in trials)
    seconds = tuple(final.seconds for final in finals)
    devices = tuple(dict.fromkeys(final.device for final in finals))
    return Answer(
        params=result.params,
        searched=searched,
        test=result.test,
        runs=result.runs,
        tasks=result.tasks,
        seconds=searching + sum(seconds),
        final_seconds=seconds,
        devices=devices,
    )
