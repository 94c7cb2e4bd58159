"""The main job: check everything, search, train the winner, and say how good it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from hpsearch.choices import Choice, compare_choices, winner
from hpsearch.criteria import Criteria
from hpsearch.engine import LocalEngine, Workers, plan_workers
from hpsearch.errors import StudyError
from hpsearch.final import (
    FinalResult,
    final_result,
    mean_best_step,
    read_final,
    rewrite_final,
    run_tasks,
    write_final,
)
from hpsearch.listener import Listener
from hpsearch.prepared import Prepared, prepare_study
from hpsearch.provenance import environment
from hpsearch.records import FoldRecords
from hpsearch.results import FoldResult, read_result
from hpsearch.samplers import build_pruner, build_sampler, choose_sampler
from hpsearch.search import Search, SearchPlan
from hpsearch.spec import Criterion, StudySpec
from hpsearch.storage import DATABASE, create_or_load_study, open_database, sole_writer_of
from hpsearch.study_dir import StudyDir
from hpsearch.task import TaskContext


@dataclass(frozen=True)
class StudyRun:
    """A study that has been run to its end.

    Attributes:
        folder: its run directory.
        results: of each criterion that was asked for, what it chose, trained on all normals. Two
            that chose the same configuration have the same result, trained once.
    """

    folder: StudyDir
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

    Raises:
        UserError: a mistake that the user can mend, in one line.
    """
    plan = plan_workers(device, workers)
    prepared = prepare_study(
        spec, cache_dir=cache_dir, workers=plan.count * plan.threads, listener=listener
    )
    listener.note(_opening(prepared, plan))
    folder = StudyDir(runs / spec.study_name)
    facts = environment(prepared.dataset, prepared.backbone, ", ".join(plan.devices))
    with sole_writer_of(folder.path):
        folder.begin(spec, prepared.dataset.table, facts)
        engine = LocalEngine(_context(prepared, folder, cache_dir), plan)
        try:
            study = _search(prepared, folder, engine, plan, listener)
            asked = criteria or [spec.search.criterion]
            return StudyRun(folder, _results(asked, study, prepared, folder, engine, listener))
        finally:
            engine.close()


def _opening(prepared: Prepared, plan: Workers) -> str:
    spec, types = prepared.spec, ", ".join(prepared.labelled.types)
    return (
        f"study {spec.study_name}: {spec.detector} on {prepared.dataset.name}, "
        f"{len(prepared.space.grid)} configurations x {spec.search.n_folds} folds; "
        f"{len(prepared.labelled.positions)} labelled anomalies of type {types}; "
        f"chosen by the {spec.search.criterion} criterion; "
        f"{plan.count} x {plan.threads} threads on {', '.join(plan.devices)}"
    )


def _context(prepared: Prepared, folder: StudyDir, cache_dir: Path) -> TaskContext:
    return TaskContext(
        table=prepared.dataset.table,
        pixels=prepared.pixels,
        backbone=prepared.spec.backbone.name,
        backbone_weights=prepared.spec.backbone.weights,
        tasks=folder.tasks,
        cache_dir=cache_dir,
        device="cpu",
    )


def _search(
    prepared: Prepared, folder: StudyDir, engine: LocalEngine, workers: Workers, listener: Listener
) -> optuna.Study:
    spec = prepared.spec.search
    n_trials = spec.n_trials or len(prepared.space.grid)
    sampler = choose_sampler(spec.sampler, n_points=len(prepared.space.grid), n_trials=n_trials)
    study = create_or_load_study(
        folder.path,
        prepared.spec.study_name,
        pruner=build_pruner(spec.pruner, n_folds=spec.n_folds),
    )
    # A sampler begins anew with the process: the same seed would draw the first points again.
    drawn = len(study.get_trials(deepcopy=False))
    study.sampler = build_sampler(sampler, seed=spec.seed + drawn)
    plan = SearchPlan(
        space=prepared.space,
        criterion=spec.criterion,
        n_trials=min(n_trials, len(prepared.space.grid)) if sampler == "grid" else n_trials,
        n_folds=spec.n_folds,
        exhaustive=sampler == "grid",
        pruning=spec.pruner != "none",
        timeout=spec.timeout,
    )
    Search(
        study,
        plan,
        make_task=prepared.task,
        known=lambda task: read_result(folder.tasks, task.digest),
        criteria=Criteria(prepared.dataset.table, prepared.labelled, spec.n_folds),
        engine=engine,
        records=FoldRecords(open_database(folder.path)),
        listener=listener,
    ).run()
    return study


def _results(
    criteria: Sequence[Criterion],
    study: optuna.Study,
    prepared: Prepared,
    folder: StudyDir,
    engine: LocalEngine,
    listener: Listener,
) -> dict[Criterion, FinalResult]:
    choices = compare_choices(
        study,
        partial(_stored_folds, folder),
        table=prepared.dataset.table,
        roles=prepared.roles,
        seed=prepared.spec.search.seed,
    )
    return {
        criterion: _finish(prepared, folder, winner(study, criterion), choices, engine, listener)
        for criterion in criteria
    }


def _stored_folds(folder: StudyDir, trial: FrozenTrial) -> list[FoldResult]:
    results = [read_result(folder.tasks, digest) for digest in trial.user_attrs["tasks"]]
    found = [result for result in results if result is not None]
    if len(found) < len(results):
        raise StudyError(
            f"{folder.tasks}: results of trial {trial.number} are gone; put them back, or delete "
            f"{DATABASE} and run again to train what is missing"
        )
    return found


def _finish(
    prepared: Prepared,
    folder: StudyDir,
    trial: FrozenTrial,
    choices: tuple[Choice, ...],
    engine: LocalEngine,
    listener: Listener,
) -> FinalResult:
    """Train a chosen configuration and the reference rows, unless an earlier run has."""
    n_runs, steps = prepared.spec.final.n_runs, mean_best_step(trial)
    known = read_final(folder.final, trial.number)
    if known is not None and len(known.runs) == n_runs:
        if known.choices != choices:  # for there are more trials now
            known = replace(known, choices=choices)
            rewrite_final(folder.final, known)
        return known
    finals = [prepared.final_task(trial.params, run=run, steps=steps) for run in range(n_runs)]
    references = prepared.reference_tasks(trial.params)
    done = run_tasks([*references.values(), *finals], engine, listener, "training the winner")
    result = final_result(
        trial,
        [done[task.digest] for task in finals],
        {name: done[task.digest] for name, task in references.items()},
        choices=choices,
        table=prepared.dataset.table,
        roles=prepared.roles,
        steps=steps,
        seed=prepared.spec.search.seed,
    )
    write_final(folder.final, result, folder.tasks / finals[0].digest / "model")
    return result
