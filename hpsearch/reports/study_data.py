"""Everything on disk that a report is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from hpsearch.config.space import DETECTOR, configuration, describe
from hpsearch.config.spec import AxisValue, Criterion, StudySpec
from hpsearch.evaluation.selection import varied_axes
from hpsearch.evaluation.stored_scores import StoredScores, read_scores
from hpsearch.io.processes import Progress, silent
from hpsearch.protocol.labels import EvaluationRoles, LabelledAnomalies, evaluation_roles
from hpsearch.protocol.protocol import labelled_anomalies
from hpsearch.storage.database import load_study, trials_with_labels
from hpsearch.storage.results import FoldResult
from hpsearch.storage.run_dir import RunDir
from hpsearch.storage.trials import facts_of
from hpsearch.study.result import FinalResult, final_runs, read_winner, stored_runs

CRITERION_NAMES: Mapping[Criterion, str] = {
    "weak": "validation ROC AUC",
    "unsupervised": "minus the mean score of held-out normals",
    "synthetic": "ROC AUC against synthetic anomalies",
}
"""What the value by each criterion is called; higher is better."""

NO_CHOICE = "–"
"""Of a trial on an axis that its detector does not have."""


@dataclass(frozen=True, eq=False)
class StudyData:
    """A finished study.

    Attributes:
        folder, spec, environment: of the study.
        study: its trials.
        stored: the scores of its completed trials.
        labelled: the anomalies that the search saw.
        roles: what the test images can tell.
        result: its answer.
        folds: of the single trial chosen, the trainings that chose it.
        finals: the trainings of the winner on all normals; of an average, its members' as one.
    """

    folder: RunDir
    spec: StudySpec
    environment: Mapping[str, Any]
    study: optuna.Study
    stored: StoredScores
    labelled: LabelledAnomalies
    roles: EvaluationRoles
    result: FinalResult
    folds: tuple[FoldResult, ...]
    finals: tuple[FoldResult, ...]

    @property
    def criterion(self) -> Criterion:
        """By which the winner was chosen."""
        return self.spec.search.criterion

    @property
    def trials(self) -> tuple[FrozenTrial, ...]:
        """The completed trials, by number."""
        return self.stored.trials

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The axes with more than one choice, by their own names, the detector first.

        Of a study of several detectors, those of each that was tried, under one name where several
        have an axis of that name.
        """
        axes = [axis for trial in self.trials for axis in varied_axes(trial)]
        return tuple(dict.fromkeys(axis.rpartition(".")[2] for axis in axes))

    def choice(self, trial: FrozenTrial, axis: str) -> AxisValue:
        """A trial's choice on an axis that varies; a dash where its detector has none such."""
        if axis == DETECTOR:
            return str(trial.params[DETECTOR])
        _, own = configuration(trial.params, self.spec.detector)
        return own.get(axis, NO_CHOICE)

    def configuration(self, trial: FrozenTrial) -> str:
        """A trial's choices on one line."""
        axes = varied_axes(trial)
        return describe(trial.params, axes) if axes else "the only configuration"


def read_study_data(folder: RunDir, *, progress: Progress = silent) -> StudyData:
    """Read a finished study; nothing is trained.

    Raises:
        UserError: the study is not finished, or a file of it is gone or damaged.
    """
    result, spec, study = read_winner(folder), folder.spec(), load_study(folder.path)
    stored = read_scores(folder, progress=progress)
    labelled = labelled_anomalies(spec, stored.table)
    winner = next(trial for trial in stored.trials if trial.number == result.trial)
    return StudyData(
        folder=folder,
        spec=spec,
        environment=folder.environment(),
        study=study,
        stored=stored,
        labelled=labelled,
        roles=evaluation_roles(stored.table, labelled, trained_on=bool(trials_with_labels(study))),
        result=result,
        folds=stored_runs(folder, facts_of(winner).tasks),
        finals=final_runs(folder, result),
    )
