"""The trials of a study told apart: what each of them counts for.

The database may hold trials that this program did not end: another one can add a trial to it, or
tell the result of one that is under way. Such a trial has no facts of ours; it counts for nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from hpsearch.errors import ENVIRONMENT
from hpsearch.io.faults import shortened

CONFIG = "config_digest"  # user attribute of a trial
TASKS = "tasks"  # user attribute of every trial that a search has ended: digests of its folds
LABELLED = (
    "labelled"  # user attribute: `Criteria.digest` of what a trial's values are computed with
)
RETRY_OF = "retry_of"  # user attribute of a trial that tries a failed one again: their numbers

_AUTOMATIC_ATTEMPTS = 3  # at a configuration that fails for a cause of the environment


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
            by_config[trial.user_attrs.get(CONFIG)].append(trial)
        by_config.pop(None, None)
        failed = {trial.number for trial in self.failed}
        return tuple(
            tuple(trial for trial in trials if trial.number in failed)
            for trials in by_config.values()
            if all(trial.state is TrialState.FAIL for trial in trials)
            and (all_failed or _may_pass(trials))
        )


def trials_of(study: optuna.Study) -> Trials:
    """The trials of `study` told apart."""
    trials = study.get_trials(deepcopy=False)
    retried = {number for trial in trials for number in trial.user_attrs.get(RETRY_OF, ())}
    ended = [trial for trial in trials if trial.state.is_finished() and TASKS in trial.user_attrs]

    def of(state: TrialState) -> tuple[FrozenTrial, ...]:
        return tuple(trial for trial in ended if trial.state is state)

    failures = of(TrialState.FAIL)
    return Trials(
        completed=of(TrialState.COMPLETE),
        pruned=of(TrialState.PRUNED),
        failed=tuple(trial for trial in failures if trial.number not in retried),
        retried=tuple(trial for trial in failures if trial.number in retried),
        under_way=tuple(trial for trial in trials if not trial.state.is_finished()),
        foreign=tuple(
            trial for trial in trials if trial.state.is_finished() and TASKS not in trial.user_attrs
        ),
    )


def _may_pass(trials: Collection[FrozenTrial]) -> bool:
    last = max(trials, key=lambda trial: trial.number)
    return len(trials) < _AUTOMATIC_ATTEMPTS and reason_of(last) in ENVIRONMENT


_NAMED = 3  # trials that a sentence names


def failures_sentence(failed: Sequence[FrozenTrial], *, tried: int) -> str:
    """How many of the configurations that were tried failed, and why.

    Args:
        failed: trials of `hpsearch.storage.trials.Trials.failed`, one or more.
        tried: configurations, failed ones included.
    """
    named = "; ".join(
        f"trial {trial.number} {reason_of(trial)}: {message_of(trial)}" for trial in failed[:_NAMED]
    )
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    return f"{len(failed)} of {tried} configurations failed: {named}{more}"


def reason_of(trial: FrozenTrial) -> str:
    """Of a failed trial, `error` where it is not known."""
    return str(trial.user_attrs.get("failure", "error"))


def message_of(trial: FrozenTrial) -> str:
    """Of a failed trial."""
    return shortened(trial.user_attrs.get("failure_message", "unknown"))
