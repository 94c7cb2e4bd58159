"""A trial of the search: how it is drawn, what its folds are worth, and what is kept of it.

A configuration is chosen by figures of the same trained folds, each higher = better. `weak` is the
paper's (section 3.3): ROC AUC of a fold's normals against the labelled anomalies. `unsupervised`
needs no anomaly: minus the mean score of a fold's normals, which for an autoencoder is the
reconstruction loss of its rows (1) and (2) in Table 4 (section 4.6). It compares only
configurations whose scores are on one scale. `synthetic` needs none either: ROC AUC of a fold's
normals against their synthetic counterparts (arXiv 2310.10461; see `hpsearch.datasets.cutpaste`).
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from hpsearch.config.space import Params
from hpsearch.config.spec import CRITERIA, Criterion, Values
from hpsearch.errors import TaskError
from hpsearch.evaluation.auroc import auroc
from hpsearch.protocol.labels import LabelledAnomalies, labelled_for_fold, split_labels
from hpsearch.search.events import EndState, TrialReport
from hpsearch.storage.results import FoldResult, scores_at
from hpsearch.storage.trials import TrialFacts, facts_of

SamplerName = Literal["grid", "tpe", "random"]

_STATES: Mapping[TrialState, EndState] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True, eq=False)
class Criteria:
    """The values of one fold, from stored scores.

    Attributes:
        table: the image table.
        labelled: the anomalies that the search may see.
        n_folds: how many folds there are.
    """

    table: pd.DataFrame
    labelled: LabelledAnomalies
    n_folds: int

    @cached_property
    def digest(self) -> str:
        """Names the labelled anomalies of the folds by their positions, 16 hex digits."""
        of_folds = [
            labelled_for_fold(self.labelled, fold, self.n_folds).tolist()
            for fold in range(self.n_folds)
        ]
        return hashlib.sha256(str(of_folds).encode()).hexdigest()[:16]

    def __call__(self, result: FoldResult, fold: int) -> Values:
        """The values of fold number `fold`, to the bit the same from memory and from disk."""
        normals = result.of_role("normal")
        if result.trained_on_labels:
            split = split_labels(self.table, self.labelled, fold=fold, n_folds=self.n_folds)
            positions = split.scored
        else:
            positions = labelled_for_fold(self.labelled, fold, self.n_folds)
        return {
            "weak": auroc(normals, scores_at(result, self.table, positions)),
            "unsupervised": -fmean(normals),
            "synthetic": auroc(normals, result.of_role("synthetic")),
        }


def mean_values(folds: Mapping[int, Values]) -> Values:
    """The means over folds, to the bit the same in whatever order the folds came."""
    return {name: fmean(values[name] for values in folds.values()) for name in CRITERIA}


@dataclass(eq=False)
class OpenTrial:
    """A trial whose folds are not all scored.

    Attributes:
        trial: Optuna's.
        params: its configuration.
        criterion: of the study.
        reported: steps that an earlier run told Optuna of.
        pending: folds that no worker has yet.
        under_way: folds that a worker has.
        results, values: of the folds scored so far.
        failure: of a fold.
    """

    trial: optuna.Trial
    params: Params
    criterion: Criterion
    reported: Collection[int]
    pending: list[int]
    under_way: set[int] = field(default_factory=set)
    results: dict[int, FoldResult] = field(default_factory=dict)
    values: dict[int, Values] = field(default_factory=dict)
    failure: TaskError | None = None

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
            trained_on_labels=any(result.trained_on_labels for result in results),
            failure=failure.reason if failure else None,
            failure_message=failure.message if failure else None,
            failure_traceback=failure.traceback if failure else (),
        ).write(self.trial)

    def report(self, state: TrialState, searched: Collection[str], *, best: bool) -> TrialReport:
        """How the trial ended, for whoever listens."""
        return TrialReport(
            number=self.number,
            params=self.params,
            varied={axis: self.params[axis] for axis in searched if axis in self.params},
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


def choose_sampler(
    name: Literal["auto", "grid", "tpe", "random"], *, n_points: int, n_trials: int
) -> SamplerName:
    """`auto` is the grid where the trials can hold it, and TPE where the space is larger."""
    if name != "auto":
        return name
    return "grid" if n_trials >= n_points else "tpe"


class SeededByTrial(BaseSampler):
    """Draws each trial from a generator of its own, whichever process asks for it.

    Optuna's samplers draw all trials of a process from one generator. A search that was stopped
    would then go on with other draws than one that was not.

    Args:
        make: a sampler by its seed.
        seed: of the study.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The sampler's own."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Parameters that are drawn together."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One parameter, the same whether those before it were drawn now or are read back."""
        sampler = self._of(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial, *names: str) -> BaseSampler:
        key = repr((self._seed, trial.number, *names))
        digest = hashlib.sha256(key.encode()).digest()
        return self._make(int.from_bytes(digest[:4]))  # numpy takes 32 bits


def build_sampler(name: SamplerName, *, seed: int) -> BaseSampler:
    """The sampler; on the grid the points are queued and the sampler is never asked."""
    if name == "tpe":
        return SeededByTrial(lambda own: optuna.samplers.TPESampler(seed=own), seed)
    return SeededByTrial(lambda own: optuna.samplers.RandomSampler(seed=own), seed)


def build_pruner(name: str, *, n_folds: int) -> optuna.pruners.BasePruner:
    """The pruner; its steps are folds scored, its values the running mean over them."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=n_folds, reduction_factor=3
        )
    return optuna.pruners.NopPruner()
