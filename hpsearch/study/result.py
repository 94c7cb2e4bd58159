"""The answer of a study: its choice trained on all normals, the figure beside what it must beat.

On disk it is `final/<trial>/{result.json, model/}`.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from hpsearch.config.space import Params
from hpsearch.config.spec import Values
from hpsearch.errors import StudyError, WeightsError
from hpsearch.evaluation.auroc import Estimate, estimate, mean_auroc
from hpsearch.evaluation.selection import CriterionChoice, HeldOutType, LeftOutType, Selection
from hpsearch.evaluation.threshold import ConformalThreshold, Flagging
from hpsearch.io.files import remove_leftovers, write_directory_atomic, write_text_atomic
from hpsearch.model.bundle import ModelFacts, read_bundle, write_bundle
from hpsearch.protocol.folds import Positions
from hpsearch.protocol.labels import EvaluationRoles
from hpsearch.storage.database import completed_trials, load_study
from hpsearch.storage.results import FoldResult
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import facts_of

REFERENCES: Mapping[str, Params] = {
    "colour statistics, Mahalanobis": {"kind": "mahalanobis", "layer": "colour"},
    "colour statistics, isolation forest": {"kind": "isolation_forest", "layer": "colour"},
    "frozen VGG r32, Mahalanobis": {"kind": "mahalanobis", "layer": "r32"},
    "frozen VGG r42, Mahalanobis": {"kind": "mahalanobis", "layer": "r42"},
}
"""Rows of the `features` detector beside every result, at the winner's preprocessing."""


@dataclass(frozen=True)
class FinalResult:
    """The answer of a study, or what another criterion than the study's would have answered.

    Attributes:
        trial: number of the chosen trial.
        params: its configuration.
        value: its mean over folds by the study's criterion.
        criteria: the same by every criterion.
        fold_aurocs: validation ROC AUC of its folds, the values by `weak`.
        steps: that each final training took.
        test: test ROC AUC over all anomalies of the final figure.
        seen: of the types that the search saw, None where no test image of them is left.
        unseen: of types that it never saw, None where there are none.
        runs: test ROC AUC of each final training.
        references: name and estimate of what the winner has to beat.
        tasks: digests of the final trainings.
        choices: of every criterion in this study.
        selection: what the labelled anomalies decided, whichever criterion chose this one.
        flagging: by the first final model, None where there are too few normals for a threshold.
    """

    trial: int
    params: Params
    value: float
    criteria: Values
    fold_aurocs: tuple[float, ...]
    steps: int
    test: Estimate
    seen: Estimate | None
    unseen: Estimate | None
    runs: tuple[float, ...]
    references: tuple[tuple[str, Estimate], ...]
    tasks: tuple[str, ...]
    choices: tuple[CriterionChoice, ...]
    selection: Selection
    flagging: Flagging | None

    def simpler_and_as_good(self) -> tuple[str, Estimate] | None:
        """The best of the references that reach the winner, but for the winner itself."""
        reaching = [
            (name, estimate)
            for name, estimate in self.references
            if estimate.auroc >= self.test.auroc
            and not REFERENCES[name].items() <= self.params.items()
        ]
        return max(reaching, key=lambda row: row[1].auroc, default=None)


def final_result(
    trial: FrozenTrial,
    runs: Sequence[FoldResult],
    references: Mapping[str, FoldResult],
    *,
    choices: tuple[CriterionChoice, ...],
    selection: Selection,
    flagging: Flagging | None,
    table: pd.DataFrame,
    roles: EvaluationRoles,
    steps: int,
    seed: int,
) -> FinalResult:
    """Put the test figures together from stored scores."""

    def figure(results: Sequence[FoldResult], anomalies: Positions) -> Estimate:
        return estimate(results, table, roles.normals, anomalies, seed=seed)

    facts = facts_of(trial)
    return FinalResult(
        trial=trial.number,
        params=trial.params,
        value=float(trial.value or 0.0),
        criteria=facts.criteria,
        fold_aurocs=tuple(facts.fold_values["weak"]),
        steps=steps,
        test=figure(runs, roles.headline),
        seen=figure(runs, roles.seen) if len(roles.seen) else None,
        unseen=figure(runs, roles.unseen) if len(roles.unseen) else None,
        runs=tuple(mean_auroc([run], table, roles.normals, roles.headline) for run in runs),
        references=tuple(
            (name, figure([result], roles.headline)) for name, result in references.items()
        ),
        tasks=tuple(run.digest for run in runs),
        choices=choices,
        selection=selection,
        flagging=flagging,
    )


def write_final(folder: RunDir, result: FinalResult, *, saved: Path, facts: ModelFacts) -> None:
    """Write `final/<trial>/{result.json, model/}`, replacing an earlier one of the same trial.

    Args:
        folder: of the study.
        result: of the trial.
        saved: what the detector of its first final training saved.
        facts: of the model.
    """
    target = folder.final_of(result.trial)
    remove_leftovers(target)
    shutil.rmtree(target, ignore_errors=True)
    with write_directory_atomic(target) as partial:
        (partial / folder.result_file(result.trial).name).write_text(_json(result))
        write_bundle(partial / folder.model(result.trial).name, saved=saved, facts=facts)


def rewrite_final(folder: RunDir, result: FinalResult) -> None:
    """Write the facts of a final model anew, and leave the model as it is."""
    path = folder.result_file(result.trial)
    remove_leftovers(path)
    write_text_atomic(path, _json(result))


def read_final(folder: RunDir, trial: int) -> FinalResult | None:
    """The result of a trial's final model, None where it has not been trained.

    Raises:
        StudyError: the file is damaged.
    """
    path = folder.result_file(trial)
    if not path.exists():
        return None
    try:
        return _result(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StudyError(
            f"{path}: damaged, or of an earlier version; run the same `hpsearch run` again, which "
            "makes it anew"
        ) from error


def what_is_damaged(folder: RunDir, trial: int) -> str | None:
    """What of a trial's final model is lost or damaged, None where it is whole or not there."""
    if not folder.final_of(trial).is_dir():
        return None
    try:
        if read_final(folder, trial) is None:
            return f"{folder.result_file(trial)}: is gone"
        read_bundle(folder.model(trial))
    except (StudyError, WeightsError) as error:
        return str(error).partition(";")[0]
    return None


def read_winner(folder: RunDir) -> FinalResult:
    """The answer of a study.

    Raises:
        StudyError: there is none yet, or it is damaged.
    """
    if not folder.winner_file.exists():
        completed_trials(load_study(folder.path))  # says so where there is none to choose from
    result = read_final(folder, folder.winner())
    if result is None:
        raise folder.unfinished()
    return result


def _json(result: FinalResult) -> str:
    names = {"selection": "verdict"}  # on disk, as earlier versions have it
    values = {names.get(name, name): value for name, value in asdict(result).items()}
    return json.dumps(values, indent=1)


def _result(values: dict[str, Any]) -> FinalResult:
    for name in ("test", "seen", "unseen"):
        values[name] = Estimate(**values[name]) if values[name] else None
    values["references"] = tuple((name, Estimate(**e)) for name, e in values["references"])
    values["choices"] = tuple(
        CriterionChoice(**choice | {"test": Estimate(**choice["test"])})
        for choice in values["choices"]
    )
    for name in ("fold_aurocs", "runs", "tasks"):
        values[name] = tuple(values[name])
    chosen = values.pop("verdict")
    # Earlier versions trained no detector on labels.
    for name, kind in (("left_out_types", LeftOutType), ("held_out_types", HeldOutType)):
        chosen[name] = tuple(kind(**one) for one in chosen.get(name, ()))
    values["selection"] = Selection(**chosen | {"tied": tuple(chosen["tied"])})
    if (flagging := values["flagging"]) is not None:
        threshold = ConformalThreshold(**flagging["threshold"])
        values["flagging"] = Flagging(**flagging | {"threshold": threshold})
    return FinalResult(**values)
