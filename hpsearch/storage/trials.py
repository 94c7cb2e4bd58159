"""What a search keeps of each trial, and the trials of a study told apart by what they count for.

The database may hold trials that this program did not end: another one can add a trial to it, or
tell the result of one that is under way. Such a trial has no facts of ours; it counts for nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpsearch.config.spec import CRITERIA, Criterion, Values
from hpsearch.errors import ENVIRONMENT
from hpsearch.io.faults import shortened

N_POINTS = "n_points"
"""The attribute of a study that says how many configurations there are."""

_AUTOMATIC_ATTEMPTS = 3  # at a configuration that fails for a cause of the environment
_NAMED = 3  # trials that a sentence names


@dataclass(frozen=True)
class TrialFacts:
    """What a search keeps of a trial, in Optuna's user attributes.

    Attributes:
        config: digest of the configuration, None for a trial of another program.
        labelled: `Criteria.digest` of the anomalies that the values are computed with.
        retry_of: numbers of the failed trials that this one stands for.
        criteria: by each criterion the mean over folds; empty where no fold was scored.
        fold_values: by each criterion the values of the folds that were scored, by fold.
        ended: whether a search has ended the trial; what follows is known then alone.
        tasks: digests of the trainings of its folds, by fold.
        best_steps: of these trainings.
        seconds: of training and scoring, over the folds.
        devices: that trained.
        trained_on_labels: whether they were fitted on labelled anomalies too.
        failure: why it failed, a `hpsearch.errors.FailureReason`; None where it did not.
        failure_message: what happened, in one line.
        failure_traceback: where.
    """

    config: str | None = None
    labelled: str | None = None
    retry_of: tuple[int, ...] = ()
    criteria: Values = field(default_factory=dict)
    fold_values: Mapping[Criterion, Sequence[float]] = field(default_factory=dict)
    ended: bool = False
    tasks: tuple[str, ...] = ()
    best_steps: tuple[int, ...] = ()
    seconds: float = 0.0
    devices: tuple[str, ...] = ()
    trained_on_labels: bool = False
    failure: str | None = None
    failure_message: str | None = None
    failure_traceback: tuple[str, ...] = ()

    def attributes(self) -> dict[str, Any]:
        """As Optuna keeps them; what is not known is left out."""
        attributes: dict[str, Any] = {}
        if self.config is not None:
            attributes["config_digest"] = self.config
        if self.labelled is not None:
            attributes["labelled"] = self.labelled
        if self.retry_of:
            attributes["retry_of"] = list(self.retry_of)
        attributes |= dict(self.criteria.items())
        if self.fold_values:
            of_folds = {name: list(values) for name, values in self.fold_values.items()}
            # Twice, for the dashboard shows a list beside a trial, and earlier versions read it.
            attributes |= {"fold_values": of_folds, "fold_aurocs": of_folds["weak"]}
        if self.ended:
            attributes |= {
                "tasks": list(self.tasks),
                "best_steps": list(self.best_steps),
                "seconds": self.seconds,
                "devices": list(self.devices),
            }
        if self.trained_on_labels:
            attributes["trained_on_labels"] = True
        if self.failure is not None:
            attributes["failure"] = self.failure
        if self.failure_message is not None:
            attributes["failure_message"] = self.failure_message
        if self.failure is not None:
            attributes["failure_traceback"] = list(self.failure_traceback)
        return attributes

    def write(self, trial: optuna.Trial) -> None:
        """Keep with a trial what is known; other facts of it stay as they are."""
        for name, value in self.attributes().items():
            trial.set_user_attr(name, value)


def facts_of(trial: FrozenTrial | optuna.Trial) -> TrialFacts:
    """What is kept of a trial; earlier versions kept less, and other programs keep nothing."""
    attributes = trial.user_attrs
    # An earlier version kept the values by one criterion alone.
    of_weak = {"weak": attributes["fold_aurocs"]} if "fold_aurocs" in attributes else {}
    return TrialFacts(
        config=attributes.get("config_digest"),
        labelled=attributes.get("labelled"),
        retry_of=tuple(attributes.get("retry_of", ())),
        criteria={name: attributes[name] for name in CRITERIA if name in attributes},
        fold_values=attributes.get("fold_values", of_weak),
        ended="tasks" in attributes,
        tasks=tuple(attributes.get("tasks", ())),
        best_steps=tuple(attributes.get("best_steps", ())),
        seconds=attributes.get("seconds", 0.0),
        devices=tuple(attributes.get("devices", ())),
        trained_on_labels=attributes.get("trained_on_labels", False),
        failure=attributes.get("failure"),
        failure_message=attributes.get("failure_message"),
        failure_traceback=tuple(attributes.get("failure_traceback", ())),
    )


@dataclass(frozen=True)
class Trials:
    """The trials of a study by what they count for, each by number.

    Attributes:
        completed, pruned: ended by a search.
        failed: ended by a failure, and not tried again since.
        retried: ended by a failure, and tried again since by another trial.
        under_way: waiting or running.
        foreign: ended by another program.
    """

    completed: tuple[FrozenTrial, ...]
    pruned: tuple[FrozenTrial, ...]
    failed: tuple[FrozenTrial, ...]
    retried: tuple[FrozenTrial, ...]
    under_way: tuple[FrozenTrial, ...]
    foreign: tuple[FrozenTrial, ...]

    @property
    def ended(self) -> tuple[FrozenTrial, ...]:
        """The trials that count as tried."""
        return (*self.completed, *self.pruned, *self.failed)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials count as what, in the words of `hpsearch status`."""
        return {
            "complete": len(self.completed),
            "pruned": len(self.pruned),
            "failed": len(self.failed),
            "open": len(self.under_way),
        }

    @property
    def ours(self) -> tuple[FrozenTrial, ...]:
        """Every trial but foreign ones."""
        return (*self.ended, *self.retried, *self.under_way)

    def to_retry(self, *, all_failed: bool) -> tuple[tuple[FrozenTrial, ...], ...]:
        """The failed trials to try again, by configuration.

        A configuration that has any other result, or is under way, is not tried again.

        Args:
            all_failed: whatever the reason was; else for causes of the environment alone, up to
                three attempts in all.
        """
        by_config = defaultdict[str | None, list[FrozenTrial]](list)
        for trial in self.ours:
            by_config[facts_of(trial).config].append(trial)
        by_config.pop(None, None)
        failed = {trial.number for trial in self.failed}
        return tuple(
            tuple(trial for trial in trials if trial.number in failed)
            for trials in by_config.values()
            if all(trial.state is TrialState.FAIL for trial in trials)
            and (
                all_failed
                or (
                    len(trials) < _AUTOMATIC_ATTEMPTS
                    and reason_of(max(trials, key=lambda trial: trial.number)) in ENVIRONMENT
                )
            )
        )


def trials_of(study: optuna.Study) -> Trials:
    """The trials of `study` told apart."""
    trials = [(trial, facts_of(trial)) for trial in study.get_trials(deepcopy=False)]
    retried = {number for _, facts in trials for number in facts.retry_of}
    finished = [(trial, facts.ended) for trial, facts in trials if trial.state.is_finished()]

    def ended(state: TrialState) -> tuple[FrozenTrial, ...]:
        return tuple(trial for trial, ours in finished if ours and trial.state is state)

    failures = ended(TrialState.FAIL)
    return Trials(
        completed=ended(TrialState.COMPLETE),
        pruned=ended(TrialState.PRUNED),
        failed=tuple(trial for trial in failures if trial.number not in retried),
        retried=tuple(trial for trial in failures if trial.number in retried),
        under_way=tuple(trial for trial, _ in trials if not trial.state.is_finished()),
        foreign=tuple(trial for trial, ours in finished if not ours),
    )


def failures_sentence(failed: Sequence[FrozenTrial], *, tried: int) -> str:
    """How many of the configurations that were tried failed, and why.

    Args:
        failed: of `Trials.failed`, one or more.
        tried: configurations, failed ones included.
    """
    named = "; ".join(
        f"trial {trial.number} {reason_of(trial)}: {message_of(trial)}" for trial in failed[:_NAMED]
    )
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return f"{len(failed)} of {tried} configurations failed: {named}{more}"


def reason_of(trial: FrozenTrial) -> str:
    """Of a failed trial, `error` where it is not known."""
    reason = facts_of(trial).failure
    return "error" if reason is None else reason


def message_of(trial: FrozenTrial) -> str:
    """Of a failed trial."""
    message = facts_of(trial).failure_message
    return shortened("unknown" if message is None else message)
