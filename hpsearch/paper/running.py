"""Run or resume the studies of a table one after the other, and collect what they answer.

A study is searched, or trains the one configuration that the authors published (`train_fixed`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import stdev
from typing import TypedDict

import numpy as np

from hpsearch.config.space import PREPROCESSING, Params, configuration
from hpsearch.config.spec import Criterion, StudySpec
from hpsearch.datasets.table import Dataset
from hpsearch.datasets.torchvision_sets import CIFAR10, SVHN
from hpsearch.errors import DataError, HpsearchError
from hpsearch.evaluation.auroc import Estimate, estimate, mean_auroc
from hpsearch.paper.contents import TableStudy
from hpsearch.paper.growing import STEPS_PER_PHASE
from hpsearch.protocol.labels import LabelledAnomalies, evaluation_roles
from hpsearch.search.engine import plan_workers, require_results, run_tasks
from hpsearch.search.events import Listener, SilentListener
from hpsearch.storage.database import load_study
from hpsearch.storage.results import read_result
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import facts_of, trials_of
from hpsearch.study.inputs import StudyInputs, at_work, load_inputs
from hpsearch.study.run import StudyRun, run_study

_LOSSLESS = (CIFAR10.name, SVHN.name)
_JPEG = (".jpg", ".jpeg")
_NO_LABELS = LabelledAnomalies(np.empty(0, dtype=np.intp), (), "shared")


class Where(TypedDict):
    """The arguments of `run_study` that are those of all studies."""

    runs: Path
    cache_dir: Path
    device: str
    workers: int | None


def pixel_notes(dataset: Dataset) -> tuple[str, ...]:
    """The data set's own notes, after one on pixels that a lossy format has changed."""
    paths = dataset.table["path"].str.lower()
    if dataset.name in _LOSSLESS and paths.str.endswith(_JPEG).any():
        return (f"JPEG pixels: those of {dataset.name} itself are not compressed", *dataset.notes)
    return dataset.notes


@dataclass(frozen=True)
class Answer:
    """A chosen configuration, and how good its final trainings are.

    Attributes:
        params: the configuration.
        searched: its values on the axes that were searched, here or by the authors.
        test: test ROC AUC, the mean over the final trainings.
        runs: the same of each of them.
        tasks: digests of the final trainings.
        seconds: of all trainings behind it, of the search and of the final ones; answers of one
            study share its search.
        final_seconds: of each final training and its scoring.
        devices: where the final trainings ran, each once.
    """

    params: Params
    searched: Params
    test: Estimate
    runs: tuple[float, ...]
    tasks: tuple[str, ...]
    seconds: float
    final_seconds: tuple[float, ...]
    devices: tuple[str, ...]

    @property
    def std(self) -> float | None:
        """Sample standard deviation of the test ROC AUC over the final trainings."""
        return spread(self.runs)


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation, None for fewer than two values."""
    return stdev(values) if len(values) > 1 else None


def train_fixed(
    spec: StudySpec,
    *,
    runs: Path,
    cache_dir: Path,
    listener: Listener,
    device: str = "auto",
    workers: int | None = None,
) -> Answer:
    """Train the configuration `final.n_runs` times for `training.max_steps`, or go on with it.

    The run directory has the settings, the environment and the trainings, and no database: there
    are no trials. What is trained already is read.

    Args:
        spec: of one configuration.
        runs: folder of run directories.
        cache_dir: folder of what can be computed again.
        listener: told of progress.
        device, workers: as of `hpsearch.study.run.run_study`.

    Raises:
        UserError: a mistake that the user can mend, in one line.
    """
    plan = plan_workers(device, workers)
    inputs = load_inputs(
        spec, cache_dir=cache_dir, workers=plan.count * plan.threads, listener=listener
    )
    (params,) = inputs.space.grid
    tasks = [
        inputs.final_task(params, run=run, steps=spec.training.max_steps)
        for run in range(spec.final.n_runs)
    ]
    folder = RunDir(runs / spec.study_name)
    what = "training the published configuration"
    with at_work(inputs, folder, plan, cache_dir=cache_dir, latest=False) as engine:
        done = run_tasks(tasks, engine, listener, what)
    results = require_results(done, tasks, what)
    table = inputs.dataset.table
    roles = evaluation_roles(table, _NO_LABELS)  # every test anomaly: the choice has seen none
    return Answer(
        params=params,
        searched={
            axis: params[axis] for axis in spec.space[spec.detector] if axis != STEPS_PER_PHASE
        },
        test=estimate(results, table, roles.normals, roles.headline, seed=spec.search.seed),
        runs=tuple(mean_auroc([run], table, roles.normals, roles.headline) for run in results),
        tasks=tuple(task.digest for task in tasks),
        seconds=sum(result.seconds for result in results),
        final_seconds=tuple(result.seconds for result in results),
        devices=tuple(dict.fromkeys(result.device for result in results)),
    )


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
    folder: RunDir
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
        device, workers: as of `hpsearch.study.run.run_study`.

    Returns:
        An outcome a study, in the same order.

    Raises:
        DataError: no study has its images.
        UserError: another mistake that the user can mend, before the first study is begun.
    """
    plan = plan_workers(device, workers)
    prepare = partial(
        load_inputs,
        cache_dir=cache_dir,
        workers=plan.count * plan.threads,
        listener=_ProgressAlone(listener),
    )
    checked = [_checked(study, runs, prepare) for study in studies]
    if all(outcome.absent for outcome in checked):
        raise DataError(checked[0].absent)
    where: Where = {"runs": runs, "cache_dir": cache_dir, "device": device, "workers": workers}
    return [outcome if outcome.absent else _run(outcome, where, listener) for outcome in checked]


class _ProgressAlone(SilentListener):
    """Hands on progress alone: what else is told here is told again when the study runs."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def progress(self, what: str, done: int, total: int) -> None:
        """As the listener shows it."""
        self._listener.progress(what, done, total)


def _checked(study: TableStudy, runs: Path, prepare: Callable[..., StudyInputs]) -> Outcome:
    """Everything but the running: the outcome of a study that has not been begun."""
    outcome = Outcome(study, RunDir(runs / study.spec.study_name), {})
    try:
        inputs = prepare(study.spec, folder=outcome.folder)
    except DataError as error:
        return replace(outcome, absent=str(error))
    return replace(outcome, notes=(*study.notes, *pixel_notes(inputs.dataset)))


def _run(outcome: Outcome, where: Where, listener: Listener) -> Outcome:
    study = outcome.study
    listener.note(study.title)
    try:
        if study.searched:
            ran = run_study(study.spec, listener=listener, criteria=study.criteria, **where)
            answers = {name: _answer(ran, study.spec, name) for name in study.criteria}
        else:
            answer = train_fixed(study.spec, listener=listener, **where)
            answers = dict.fromkeys(study.criteria, answer)
    except HpsearchError as error:
        return replace(outcome, failure=str(error))
    return replace(outcome, answers=answers)


def _answer(ran: StudyRun, spec: StudySpec, criterion: Criterion) -> Answer:
    result, folder = ran.results[criterion], ran.folder
    detector, own = configuration(result.params, spec.detector)
    searched = {
        axis: own[axis]
        for section in (detector, PREPROCESSING)
        for axis, choices in spec.space.get(section, {}).items()
        if len(choices) > 1
    }
    found = (read_result(folder.tasks, digest) for digest in result.tasks)
    finals = [final for final in found if final]
    trials = trials_of(load_study(folder.path)).ended
    searching = sum(facts_of(trial).seconds for trial in trials)
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
