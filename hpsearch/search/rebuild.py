"""A study's database written anew, from what is on disk of the study; nothing is trained.

Where it is lost or damaged: from the ledger of its trials, its backups and the task directories.
Nothing is deleted then, what is replaced lies in `damaged/` afterwards, and what is lost is trained
again by the next `hpsearch run`.

Where a study goes on with other labelled anomalies: with the values of these. Every training has
scored every anomaly of the image table, so that which of them count as labelled can change without
a training. Optuna changes no trial that has ended; so the database is written anew, whole, with the
same trials and other values.
"""

import copy
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpsearch.config.space import Params, SearchSpace, config_digest
from hpsearch.config.spec import CRITERIA, Criterion, StudySpec
from hpsearch.errors import StudyError
from hpsearch.search.trial import Criteria, OpenTrial, choose_sampler, mean_values
from hpsearch.storage.backups import Ledger, backups_of, read_ledger
from hpsearch.storage.database import FoldRecord, FoldRecords, load_study, new_study, open_database
from hpsearch.storage.optuna_storage import (
    Stored,
    copy_attributes,
    live_trial,
    read_database,
    why_damaged,
)
from hpsearch.storage.results import FoldResult, read_result, read_task
from hpsearch.storage.run_dir import AVERAGE, DATABASE, LEDGER, RunDir
from hpsearch.storage.trials import TrialFacts, facts_of


@dataclass(frozen=True, eq=False)
class StoredFold:
    """A training of one fold on disk.

    Attributes:
        params: its configuration, as the study names it.
        fold: its number.
        result: what it left behind.
        time_ns: when that was written.
    """

    params: Params
    fold: int
    result: FoldResult
    time_ns: int


Configurations = Mapping[str, Mapping[int, StoredFold]]
"""By digest of the configuration and by fold, in the order in which they were first trained."""


def set_damaged_tasks_aside(folder: RunDir) -> list[str]:
    """Move task directories that cannot be read to `damaged/tasks/`; their names."""
    moved = []
    for digest in folder.task_digests():
        try:
            read_task(folder.tasks, digest)
            read_result(folder.tasks, digest)
        except StudyError:
            set_aside(folder, folder.tasks / digest)
            moved.append(digest)
    return moved


def set_aside(folder: RunDir, path: Path) -> Path:
    """Move a file or directory of a run directory to the same place in its `damaged/`."""
    target = folder.damaged / path.relative_to(folder.path)
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{path.name}.{number}")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(path, target)
    return target


def rebuild_lost_database(folder: RunDir, spec: StudySpec, space: SearchSpace) -> str | None:
    """Make the database again where it is gone and trials were kept; in words from what."""
    if folder.database.exists():
        return None
    if not folder.ledger.exists() and not folder.task_digests():
        return None
    return rebuild_database(folder, spec, space)


def rebuild_database(folder: RunDir, spec: StudySpec, space: SearchSpace) -> str | None:
    """Make a missing or damaged database again; in words from what, None where it was whole.

    The trials are those of the newest whole backup, over them those of the ledger, and after them
    the configurations of task directories that neither has.
    """
    database = folder.database
    ledger, n_bad = read_ledger(folder.ledger)
    if database.exists() and database.stat().st_size and why_damaged(database) is None:
        source: Path | None = database
    else:
        source = next((copy for copy in backups_of(database) if why_damaged(copy) is None), None)
    stored = read_database(source) if source else Stored()
    if source == database and ledger.keys() <= stored.trials.keys():
        return None
    trials = _joined(stored.trials, ledger)
    known = {facts_of(trial).config for trial in trials.values()}
    orphans = [
        folds for config, folds in stored_folds(folder, spec, space).items() if config not in known
    ]
    for path in (database, database.with_name(f"{DATABASE}-journal")):
        if path.exists():
            set_aside(folder, path)
    facts = TrialFacts(failure_message="its line in the ledger was lost")
    lost = create_trial(state=TrialState.FAIL, user_attrs=facts.attributes())
    with new_study(database, spec.study_name) as (study, _):
        copy_attributes(stored, study)
        for number in range(max(trials, default=-1) + 1):
            study.add_trial(trials.get(number) or lost)
        _add_orphans(study, spec, space, orphans)
    for number in sorted(trials.keys() - ledger.keys()):
        Ledger(folder.ledger).write(trials[number])
    damaged = f", {n_bad} damaged lines" if n_bad else ""
    return (
        f"{len(ledger)} trials in {LEDGER}{damaged}; {len(stored.trials)} in "
        f"{source.name if source else 'no backup'}; {len(orphans)} more configurations in tasks/"
    )


def _joined(
    stored: Mapping[int, FrozenTrial], ledger: Mapping[int, FrozenTrial]
) -> dict[int, FrozenTrial]:
    """The trials of both by number; those that wait are left to the next run, which queues them.

    The ledger is the later of the two; the database alone has what the dashboard adds to a trial.
    """
    trials = {n: trial for n, trial in stored.items() if trial.state is not TrialState.WAITING}
    for number, trial in ledger.items():
        if number in trials:
            before = trials[number]
            trial.user_attrs = before.user_attrs | trial.user_attrs
            trial.system_attrs = before.system_attrs | trial.system_attrs
        trials[number] = trial
    return trials


def _add_orphans(
    study: optuna.Study,
    spec: StudySpec,
    space: SearchSpace,
    orphans: Iterable[Mapping[int, StoredFold]],
) -> None:
    """Open a trial for each configuration that only its task directories tell of."""
    points = {space.digest(params): params for params in space.grid}
    digests = [config_digest(next(iter(folds.values())).params) for folds in orphans]
    missing = {digest: points[digest] for digest in digests if digest in points}
    n_points = len(points)
    n_trials = spec.search.n_trials or n_points
    sampler = choose_sampler(spec.search.sampler, n_points=n_points, n_trials=n_trials)
    if sampler == "grid":  # their numbers were those of the grid
        for config, params in list(points.items())[: spec.search.n_trials]:
            if config in missing:
                study.add_trial(_open(missing.pop(config), space))
            elif len(missing):
                facts = TrialFacts(config=config)
                study.enqueue_trial(dict(params), user_attrs=facts.attributes())
    for params in missing.values():
        study.add_trial(_open(params, space))


def _open(params: Params, space: SearchSpace) -> FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params=dict(params),
        distributions={axis: CategoricalDistribution(space.axes[axis]) for axis in params},
        user_attrs=TrialFacts(config=space.digest(params)).attributes(),
    )


def stored_folds(folder: RunDir, spec: StudySpec, space: SearchSpace) -> Configurations:
    """The trainings of a study's folds that are on disk and whole."""
    folds = []
    for digest in folder.task_digests():
        task = read_task(folder.tasks, digest)
        if task["fold"] is None or task["n_folds"] != spec.search.n_folds:
            continue
        if task.get("left_out_type") is not None:  # follows the search
            continue
        if task["detector"] not in space.branches or task["seed"] != spec.search.seed:
            continue
        result = read_result(folder.tasks, digest)
        if result is not None:
            written = (folder.tasks / digest / "result.json").stat().st_mtime_ns
            params = space.named(task["detector"], task["params"])
            folds.append(StoredFold(params, task["fold"], result, written))
    configurations: dict[str, dict[int, StoredFold]] = {}
    for one in sorted(folds, key=lambda stored: stored.time_ns):
        configurations.setdefault(config_digest(one.params), {})[one.fold] = one
    return configurations


def end_stored_trials(
    study: optuna.Study, folds_of: Configurations, criteria: Criteria, spec: StudySpec
) -> int:
    """End the open trials whose folds are all on disk; how many."""
    ended = 0
    for frozen in study.get_trials(states=(TrialState.RUNNING,)):
        folds = folds_of.get(facts_of(frozen).config or "", {})
        if len(folds) < spec.search.n_folds:
            continue
        trial = live_trial(study, frozen)
        opened = OpenTrial(trial, frozen.params, spec.search.criterion, (), pending=[])
        for fold in sorted(folds):
            opened.results[fold] = folds[fold].result
            opened.values[fold] = criteria(folds[fold].result, fold)
            step = len(opened.values)
            if step < spec.search.n_folds and step not in frozen.intermediate_values:
                trial.report(opened.value, step=step)
        opened.store_facts()
        TrialFacts(labelled=criteria.digest).write(trial)
        study.tell(trial, opened.value, TrialState.COMPLETE)
        ended += 1
    return ended


def fill_fold_table(folder: RunDir, study: optuna.Study, folds_of: Configurations) -> None:
    """Copy the results of every trial's folds to the table in SQL."""
    engine = open_database(folder.path)
    records = FoldRecords(engine)
    for trial in study.get_trials(deepcopy=False):
        facts = facts_of(trial)
        known = {one.result.digest: one for one in folds_of.get(facts.config or "", {}).values()}
        for place, digest in enumerate(facts.tasks):
            if (stored := known.get(digest)) is not None:
                values = {name: facts.fold_values[name][place] for name in CRITERIA}
                record = FoldRecord(trial.number, stored.fold, values)
                records.add(record, stored.result, instead_of=facts.retry_of)
    engine.dispose()


def rescore(folder: RunDir, criteria: Criteria, *, criterion: Criterion) -> int:
    """Give the trials of a study the values of these labelled anomalies, where they have others.

    A trial whose results are not all on disk keeps its values. Folders of final models are removed;
    the end of the study makes them again from the same trainings. For the holder of the study's
    lock.

    Returns:
        How many trials have other values now.

    Raises:
        StudyError: the result of a trial is damaged.
    """
    if not folder.database.exists():
        return 0
    study = load_study(folder.path)
    trials = study.get_trials(deepcopy=False)
    facts = {trial.number: facts_of(trial) for trial in trials}
    others = [
        trial for trial in trials if facts[trial.number].labelled not in (None, criteria.digest)
    ]
    if not others:
        return 0
    results = {number: _results(folder, of_trial.tasks) for number, of_trial in facts.items()}
    rescored = {
        trial.number: _rescored(trial, results[trial.number], criteria, criterion)
        for trial in others
        if len(results[trial.number]) == len(facts[trial.number].tasks)
    }
    if not rescored:
        return 0
    for stale in (*folder.final.glob("[0-9]*"), *folder.final.glob(AVERAGE)):
        shutil.rmtree(stale)
    ledger = Ledger(folder.ledger)
    with new_study(folder.database, study.study_name) as (anew, engine):
        records = FoldRecords(engine)
        for trial in trials:
            anew.add_trial(rescored.get(trial.number, trial))
            if trial.number in rescored:
                ledger.write(rescored[trial.number])
            for fold, result in results[trial.number].items():
                record = FoldRecord(trial.number, fold, criteria(result, fold))
                records.add(record, result, instead_of=facts[trial.number].retry_of)
        copy_attributes(study, anew)
    return sum(trial.state.is_finished() for trial in rescored.values())


def _results(folder: RunDir, tasks: Iterable[str]) -> dict[int, FoldResult]:
    """The stored results of a trial by fold, but for those that are gone."""
    results: dict[int, FoldResult] = {}
    for digest in tasks:
        result = read_result(folder.tasks, digest)
        if result is not None:
            results[int(read_task(folder.tasks, digest)["fold"])] = result
    return results


def _rescored(
    trial: FrozenTrial,
    results: dict[int, FoldResult],
    criteria: Criteria,
    criterion: Criterion,
) -> FrozenTrial:
    changed = copy.deepcopy(trial)
    facts = TrialFacts(labelled=criteria.digest)
    if results:
        values = {fold: criteria(result, fold) for fold, result in sorted(results.items())}
        facts = replace(
            facts,
            criteria=mean_values(values),
            fold_values={name: [values[fold][name] for fold in values] for name in CRITERIA},
        )
        changed.intermediate_values = {
            step: mean_values(dict(list(values.items())[:step]))[criterion]
            for step in trial.intermediate_values
        }
        if trial.value is not None:
            changed.value = facts.criteria[criterion]
    elif not trial.state.is_finished():  # its folds are scored, and reported, again
        changed.intermediate_values = {}
    changed.user_attrs = trial.user_attrs | facts.attributes()
    return changed
