"""A trial of the search while its folds are being scored."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import optuna
from optuna.trial import TrialState

from hpsearch.config.space import Params
from hpsearch.config.spec import CRITERIA, Criterion, Values
from hpsearch.errors import TaskError
from hpsearch.evaluation.criteria import mean_values
from hpsearch.search.events import EndState, TrialReport
from hpsearch.storage.results import FoldResult
from hpsearch.storage.trials import TrialFacts, facts_of

_STATES: Mapping[TrialState, EndState] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(eq=False)
class OpenTrial:
    """A trial whose folds are not all scored."""

    trial: optuna.Trial
    params: Params
    criterion: Criterion  # of the study
    reported: Collection[int]  # steps that an earlier run told Optuna of
    pending: list[int]  # folds that no worker has yet
    under_way: set[int] = field(default_factory=set)  # folds that a worker has
    results: dict[int, FoldResult] = field(default_factory=dict)
    values: dict[int, Values] = field(default_factory=dict)  # of the folds scored so far
    failure: TaskError | None = None  # of a fold

    @property
    def number(self) -> int:
        """Optuna's number of the trial."""
        return self.trial.number

    @property
    def retry_of(self) -> Collection[int]:
        """Numbers of the failed trials that this one stands for."""
        return facts_of(self.trial).retry_of

    @property
    def value(self) -> float:
        """What Optuna is told: the mean over folds by the study's criterion."""
        return mean_values(self.values)[self.criterion]

    def fold_values(self, criterion: Criterion) -> tuple[float, ...]:
        """Values by one criterion of the folds scored so far, by fold."""
        return tuple(self.values[fold][criterion] for fold in sorted(self.values))

    @property
    def seconds(self) -> float:
        """Of training, over the folds."""
        return sum(result.seconds for result in self.results.values())

    def store_facts(self) -> None:
        """Keep with Optuna's trial what its value rests on."""
        results = [self.results[fold] for fold in sorted(self.results)]
        failure = self.failure
        TrialFacts(
            criteria=mean_values(self.values) if self.values else {},
            fold_values={criterion: self.fold_values(criterion) for criterion in CRITERIA},
            ended=True,
            tasks=tuple(result.digest for result in results),
            best_steps=tuple(result.best_step for result in results),
            seconds=self.seconds,
            devices=tuple(sorted({result.device for result in results})),
            failure=failure.reason if failure else None,
            failure_message=failure.message if failure else None,
            failure_traceback=failure.traceback if failure else (),
        ).write(self.trial)

    def report(self, state: TrialState, searched: Collection[str], *, best: bool) -> TrialReport:
        """How the trial ended, for whoever listens."""
        return TrialReport(
            number=self.number,
            params=self.params,
            varied={axis: self.params[axis] for axis in searched},
            state=_STATES[state],
            criterion=self.criterion,
            value=self.value if self.values else None,
            fold_values=self.fold_values(self.criterion),
            criteria=mean_values(self.values) if self.values else {},
            seconds=self.seconds,
            best=best,
            failure=self.failure.reason if self.failure else None,
            failure_message=self.failure.message if self.failure else None,
        )
