"""A trial of the search while its folds are being scored."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import fmean

import optuna
from optuna.trial import TrialState

from hpsearch.listener import EndState, TrialReport
from hpsearch.results import FoldResult
from hpsearch.space import Params

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
    reported: Collection[int]  # steps that an earlier run told Optuna of
    pending: list[int]  # folds that no worker has yet
    under_way: set[int] = field(default_factory=set)  # folds that a worker has
    results: dict[int, FoldResult] = field(default_factory=dict)
    aurocs: dict[int, float] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Optuna's number of the trial."""
        return self.trial.number

    @property
    def value(self) -> float:
        """Mean ROC AUC of the folds scored so far, to the bit the same in whatever order."""
        return fmean(self.aurocs.values())

    @property
    def fold_aurocs(self) -> tuple[float, ...]:
        """ROC AUC of the folds scored so far, by fold."""
        return tuple(self.aurocs[fold] for fold in sorted(self.aurocs))

    @property
    def seconds(self) -> float:
        """Of training, over the folds."""
        return sum(result.seconds for result in self.results.values())

    def store_facts(self) -> None:
        """Keep with Optuna's trial what its value rests on."""
        results = [self.results[fold] for fold in sorted(self.results)]
        self.trial.set_user_attr("fold_aurocs", list(self.fold_aurocs))
        self.trial.set_user_attr("tasks", [result.digest for result in results])
        self.trial.set_user_attr("best_steps", [result.best_step for result in results])
        self.trial.set_user_attr("seconds", self.seconds)
        self.trial.set_user_attr("devices", sorted({result.device for result in results}))

    def report(
        self, state: TrialState, searched: Collection[str], failure: str | None
    ) -> TrialReport:
        """How the trial ended, for whoever listens."""
        return TrialReport(
            number=self.number,
            params=self.params,
            varied={axis: self.params[axis] for axis in searched},
            state=_STATES[state],
            value=self.value if self.aurocs else None,
            fold_aurocs=self.fold_aurocs,
            seconds=self.seconds,
            failure=failure,
        )
