"""A chosen configuration trained on all normals, and its test figure beside what it must beat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from optuna.trial import FrozenTrial

from hpsearch.config.space import Params
from hpsearch.config.spec import Values
from hpsearch.evaluation.choice import Choice, Verdict
from hpsearch.evaluation.threshold import Estimate, Flagging, estimate, mean_auroc
from hpsearch.storage.results import FoldResult
from hpsearch.storage.trials import facts_of

if TYPE_CHECKING:  # these import torch, which a command that only reads need not wait for
    from hpsearch.protocol.labels import TestRoles

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
        verdict: what the labelled anomalies decided, whichever criterion chose this one.
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
    choices: tuple[Choice, ...]
    verdict: Verdict
    flagging: Flagging | None

    def simpler_and_as_good(self) -> tuple[str, Estimate] | None:
        """The best of the references that reach the winner, but for the winner itself."""
        reaching = [
            (name, estimate)
            for name, estimate in self.references
            if estimate.auroc >= self.test.auroc
            and not REFERENCES[name].items() <= self.params.items()
        ]
        return max(reaching, key=lambda found: found[1].auroc, default=None)


def final_result(
    trial: FrozenTrial,
    runs: Sequence[FoldResult],
    references: Mapping[str, FoldResult],
    *,
    choices: tuple[Choice, ...],
    verdict: Verdict,
    flagging: Flagging | None,
    table: pd.DataFrame,
    roles: "TestRoles",
    steps: int,
    seed: int,
) -> FinalResult:
    """Put the test figures together from stored scores."""

    def figure(results: Sequence[FoldResult], anomalies: Any) -> Estimate:
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
        verdict=verdict,
        flagging=flagging,
    )
