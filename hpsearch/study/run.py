"""The main job: check everything, search, train the winner, and say how good it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna

from hpsearch.config.space import DETECTOR
from hpsearch.config.spec import AUTO, TRAINED, Criterion, StudySpec
from hpsearch.evaluation.auroc import visible_difference
from hpsearch.io.files import network_note
from hpsearch.search.engine import Engine, Workers, plan_workers, require_results, run_tasks
from hpsearch.search.events import Listener
from hpsearch.search.rebuild import rebuild_lost_database, rescore
from hpsearch.search.search import Search, SearchPlan
from hpsearch.search.trial import Criteria, build_pruner, build_sampler, choose_sampler
from hpsearch.storage.database import (
    FoldRecords,
    create_or_load_study,
    load_study,
    open_database,
)
from hpsearch.storage.results import read_result
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import N_POINTS, failures_sentence, trials_of
from hpsearch.study.finish import FinalTraining
from hpsearch.study.inputs import StudyInputs, at_work, load_inputs
from hpsearch.study.result import FinalResult


@dataclass(frozen=True)
class StudyRun:
    """A study that has been run to its end.

    Attributes:
        folder: its run directory.
        results: of each criterion that was asked for, what it chose, trained on all normals. Two
            that chose the same configuration have the same result, trained once.
    """

    folder: RunDir
    results: Mapping[Criterion, FinalResult]

    @property
    def result(self) -> FinalResult:
        """The answer by the study's own criterion, where that was asked for."""
        return self.results[self.folder.spec().search.criterion]


def run_study(
    spec: StudySpec,
    *,
    runs: Path,
    cache_dir: Path,
    listener: Listener,
    device: str = "auto",
    workers: int | None = None,
    criteria: Sequence[Criterion] | None = None,
    retry_failed: bool = False,
) -> StudyRun:
    """Run a study, or go on with it, to its final result.

    Args:
        spec: what to run.
        runs: folder of run directories.
        cache_dir: folder of what can be computed again.
        listener: told of progress.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        workers: processes, None for as many as are useful.
        criteria: those whose choices are trained on all normals, None for the study's own alone.
        retry_failed: try every failed configuration again, and reference rows that failed; else
            only configurations that failed for a cause of the environment.

    Raises:
        NothingCompletedError: every configuration failed, or the time was up before the first.
        UserError: a mistake that the user can mend, in one line.
    """
    plan = plan_workers(device, workers)
    folder = RunDir(runs / spec.study_name)
    inputs = load_inputs(
        spec,
        cache_dir=cache_dir,
        workers=plan.count * plan.threads,
        listener=listener,
        folder=folder,
    )
    listener.note(
        f"{inputs.in_words()}; {plan.count} x {plan.threads} threads on {', '.join(plan.devices)}"
    )
    listener.note(visible_difference(len(inputs.labelled.positions)).sentence)
    if (warning := network_note(folder.path)) is not None:
        listener.note(f"warning: {warning}")
    with at_work(inputs, folder, plan, cache_dir=cache_dir) as engine:
        if moved := _on_another_device(folder, plan):
            listener.note(moved)
        study = _search(inputs, folder, engine, listener, retry_failed=retry_failed)
        final = FinalTraining(
            study, inputs, folder, engine, listener, retry_failed, device=plan.devices[0]
        )
        return StudyRun(folder, final.results(criteria or [spec.search.criterion]))


def _on_another_device(folder: RunDir, plan: Workers) -> str | None:
    """What to say where a study goes on on another kind of device than it began on."""
    began, now = folder.environment()["device"].split(", "), plan.devices
    if {name.split(":")[0] for name in began} == {name.split(":")[0] for name in now}:
        return None
    return (
        f"the study began on {', '.join(began)} and goes on on {', '.join(now)}: precision and "
        "seeds stay, but sums are rounded otherwise"
    )


def _search(
    inputs: StudyInputs,
    folder: RunDir,
    engine: Engine,
    listener: Listener,
    *,
    retry_failed: bool,
) -> optuna.Study:
    spec = inputs.spec.search
    grid = inputs.space.grid
    n_trials = spec.n_trials or len(grid)
    sampler = choose_sampler(spec.sampler, n_points=len(grid), n_trials=n_trials)
    exhaustive, points, then = sampler == "grid", None, None
    if inputs.spec.detector == AUTO and spec.sampler == "auto":
        points = [params for params in grid if params[DETECTOR] != TRAINED]
        exhaustive = spec.n_trials is None and spec.timeout is None
        if exhaustive:
            n_trials = len(points)
        else:
            sampler, then = "tpe", TRAINED
    criteria = Criteria(inputs.dataset.table, inputs.labelled, spec.n_folds)
    made_from = rebuild_lost_database(folder, inputs.spec, inputs.space)
    if made_from is not None:
        listener.note(f"the study's database was gone; made again from {made_from}")
    _train_lost(inputs, folder, engine, listener)
    if changed := rescore(folder, criteria, criterion=spec.criterion):
        listener.note(f"the values of {changed} trials are computed anew, with the labels of now")
    study = create_or_load_study(
        folder.path,
        inputs.spec.study_name,
        pruner=build_pruner(spec.pruner, n_folds=spec.n_folds),
    )
    study.set_user_attr(N_POINTS, len(grid))
    study.sampler = build_sampler(sampler, seed=spec.seed)
    plan = SearchPlan(
        space=inputs.space,
        criterion=spec.criterion,
        labelled=criteria.digest,
        n_trials=min(n_trials, len(grid)) if sampler == "grid" or then else n_trials,
        n_folds=spec.n_folds,
        exhaustive=exhaustive,
        pruning=spec.pruner != "none",
        points=points,
        then=then,
        timeout=spec.timeout,
        retry_failed=retry_failed,
    )
    Search(
        study,
        plan,
        make_task=inputs.task,
        known=lambda task: read_result(folder.tasks, task.digest),
        criteria=criteria,
        engine=engine,
        records=FoldRecords(open_database(folder.path)),
        listener=listener,
    ).run()
    trials = trials_of(study)
    if trials.completed and trials.failed:
        listener.note(
            f"{failures_sentence(trials.failed, tried=len(trials.ended))}; `hpsearch run "
            "--retry-failed` tries them again"
        )
    return study


def _train_lost(inputs: StudyInputs, folder: RunDir, engine: Engine, listener: Listener) -> None:
    """Train again the folds of completed trials whose results are gone."""
    if not folder.database.exists():
        return
    tasks = [
        inputs.task(trial.params, fold)
        for trial in trials_of(load_study(folder.path)).completed
        for fold in range(inputs.spec.search.n_folds)
    ]
    lost = [task for task in tasks if not (folder.tasks / task.digest).is_dir()]
    if lost:
        listener.note(f"{len(lost)} results of completed trials are gone; training them again")
        what = "training what was lost"
        require_results(run_tasks(lost, engine, listener, what), lost, what)
