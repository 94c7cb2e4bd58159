"""A study that goes on with other labelled anomalies: its values, anew from stored scores.

Every training has scored every anomaly of the image table, so that which of them count as labelled
can change without a training. Optuna changes no trial that has ended; the database is therefore
written anew, whole, with the same trials and other values.
"""

import copy
import shutil
from typing import Any

from optuna.trial import FrozenTrial

from hpsearch.config.spec import CRITERIA, Criterion
from hpsearch.evaluation.criteria import Criteria, mean_values
from hpsearch.storage.backups import Ledger
from hpsearch.storage.database import FoldRecord, FoldRecords, load_study, new_study
from hpsearch.storage.optuna_storage import copy_attributes
from hpsearch.storage.results import FoldResult, read_result, read_task
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import LABELLED, RETRY_OF, TASKS


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
    if all(trial.user_attrs.get(LABELLED) in (None, criteria.digest) for trial in trials):
        return 0
    results = {trial.number: _results(folder, trial) for trial in trials}
    rescored = {
        trial.number: _rescored(trial, results[trial.number], criteria, criterion)
        for trial in trials
        if trial.user_attrs.get(LABELLED) not in (None, criteria.digest)
        and len(results[trial.number]) == len(trial.user_attrs.get(TASKS, ()))
    }
    if not rescored:
        return 0
    for stale in folder.final.glob("[0-9]*"):
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
                records.add(record, result, instead_of=trial.user_attrs.get(RETRY_OF, ()))
        copy_attributes(study, anew)
    return sum(trial.state.is_finished() for trial in rescored.values())


def _results(folder: RunDir, trial: FrozenTrial) -> dict[int, FoldResult]:
    """The stored results of a trial by fold, but for those that are gone."""
    found: dict[int, FoldResult] = {}
    for digest in trial.user_attrs.get(TASKS, []):
        result = read_result(folder.tasks, digest)
        if result is not None:
            found[int(read_task(folder.tasks, digest)["fold"])] = result
    return found


def _rescored(
    trial: FrozenTrial,
    results: dict[int, FoldResult],
    criteria: Criteria,
    criterion: Criterion,
) -> FrozenTrial:
    changed = copy.deepcopy(trial)
    changed.user_attrs = trial.user_attrs | {LABELLED: criteria.digest}
    if not results:
        if not trial.state.is_finished():  # its folds are scored, and reported, again
            changed.intermediate_values = {}
        return changed
    values = {fold: criteria(result, fold) for fold, result in sorted(results.items())}
    facts: dict[str, Any] = dict(mean_values(values).items())
    of_fold = {name: [values[fold][name] for fold in values] for name in CRITERIA}
    facts |= {"fold_values": of_fold, "fold_aurocs": of_fold["weak"]}
    changed.user_attrs |= facts
    changed.intermediate_values = {
        step: mean_values(dict(list(values.items())[:step]))[criterion]
        for step in trial.intermediate_values
    }
    if trial.value is not None:
        changed.value = facts[criterion]
    return changed
