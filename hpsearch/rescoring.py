"""A study that goes on with other labelled anomalies: its values, anew from stored scores.

Every training has scored every anomaly of the image table, so that which of them count as labelled
can change without a training. Optuna changes no trial that has ended; the database is therefore
written anew, whole, with the same trials and other values.
"""

import copy
import json
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from hpsearch.criteria import CRITERIA, Criteria, mean_values
from hpsearch.errors import StudyError
from hpsearch.records import FoldRecord, FoldRecords
from hpsearch.results import FoldResult, read_result
from hpsearch.spec import Criterion, LabelsSpec
from hpsearch.storage import DATABASE, load_study, new_database
from hpsearch.study_dir import StudyDir

_LABELS = "labels"  # user attribute of a study: those that its values were computed with


def mark_labels(study: optuna.Study, labels: LabelsSpec) -> None:
    """Keep with a study which labelled anomalies its values are computed with."""
    if _LABELS not in study.user_attrs:
        study.set_user_attr(_LABELS, labels.model_dump(mode="json"))


def rescore(
    folder: StudyDir, criteria: Criteria, *, criterion: Criterion, labels: LabelsSpec
) -> int:
    """Give the trials of a study the values that these labels lead to, where it has others.

    Final models stay; their test figures are put together again when the study ends. For the
    holder of the study's lock.

    Returns:
        How many trials have other labels now.

    Raises:
        StudyError: the result of a trial is gone or damaged.
    """
    if not (folder.path / DATABASE).exists():
        return 0
    study = load_study(folder.path)
    trials = study.get_trials(deepcopy=False)
    if not trials or study.user_attrs.get(_LABELS) == labels.model_dump(mode="json"):
        return 0
    for known in folder.final.glob("*/result.json"):
        known.unlink()
    with new_database(folder.path, study.study_name) as (anew, engine):
        records = FoldRecords(engine)
        for trial in trials:
            results = _results(folder, trial)
            anew.add_trial(_rescored(trial, results, criteria, criterion))
            for fold, result in results.items():
                values = criteria(result, fold)
                records.add(FoldRecord(trial.number, fold, values), result)
        _copy_attributes(study, anew)
        anew.set_user_attr(_LABELS, labels.model_dump(mode="json"))
    return sum(trial.state.is_finished() for trial in trials)


def _results(folder: StudyDir, trial: FrozenTrial) -> dict[int, FoldResult]:
    """The stored results of a trial by fold."""
    found: dict[int, FoldResult] = {}
    for digest in trial.user_attrs.get("tasks", []):
        result = read_result(folder.tasks, digest)
        if result is None:
            raise StudyError(
                f"{folder.tasks / digest}: a result of trial {trial.number} is gone; put it back"
            )
        task = json.loads((folder.tasks / digest / "task.json").read_text(encoding="utf-8"))
        found[int(task["fold"])] = result
    return found


def _rescored(
    trial: FrozenTrial,
    results: dict[int, FoldResult],
    criteria: Criteria,
    criterion: Criterion,
) -> FrozenTrial:
    if not results:
        return trial
    values = {fold: criteria(result, fold) for fold, result in sorted(results.items())}
    facts: dict[str, Any] = {str(name): mean for name, mean in mean_values(values).items()}
    of_fold = {name: [values[fold][name] for fold in values] for name in CRITERIA}
    facts |= {"fold_values": of_fold, "fold_aurocs": of_fold["weak"]}
    changed = copy.deepcopy(trial)
    changed.user_attrs = trial.user_attrs | facts
    changed.intermediate_values = {
        step: mean_values(dict(list(values.items())[:step]))[criterion]
        for step in trial.intermediate_values
    }
    if trial.value is not None:
        changed.value = facts[criterion]
    return changed


def _copy_attributes(old: optuna.Study, new: optuna.Study) -> None:
    """Those of a study itself, such as the notes and pictures that the dashboard shows."""
    for key, value in old.user_attrs.items():
        new.set_user_attr(key, value)
    for key, value in old._storage.get_study_system_attrs(old._study_id).items():
        new._storage.set_study_system_attr(new._study_id, key, value)
